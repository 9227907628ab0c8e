"""What a sweep makes of what runs: whose it is, what may be ended, and how it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from together_flows.errors import NotFound, PermissionDenied, ServerFailed
from together_flows.jobs import JobRecord, JobReference, JobState, JobStatus, Phase
from together_flows.jobs.census import RunningJob, Unlisted
from together_flows.jobs.claim import Claim, Standing, is_lost
from together_flows.jobs.sweep_report import Ended, SweepReport, duration
from together_flows.jobs.verdict import Finding, Verdict, judge

NOW = 1_000_000.0
GRACE = 600.0
KINDS = ("fine_tune", "batch", "evaluation", "endpoint", "deployment", "cluster", "shared_volume", "rl_session")
MARKERS = ("tf0000000001", "tf0000000002", "tf0000000003")


def running(
    kind: str = "endpoint",
    job_id: str = "1",
    *,
    marker: str = "",
    age: float | None = 7200.0,
    usd: float | None = None,
) -> RunningJob:
    status = JobStatus(JobReference(kind, job_id), JobState.RUNNING, raw="STARTED")
    return RunningJob(status=status, marker=marker, created_at=None if age is None else NOW - age, usd_per_hour=usd)


def claim(
    kind: str = "endpoint",
    job_id: str | None = "1",
    standing: Standing = Standing.FAILED,
    *,
    marker: str = "tf000000000z",
    age: float = 7200.0,
    job_state: JobState | None = None,
) -> Claim:
    record = JobRecord(
        kind=kind,
        fingerprint="f",
        marker=marker,
        intent_at=NOW - age,
        phase=Phase.INTENT if job_id is None else Phase.SUBMITTED,
        id=job_id,
        job_state=job_state,
    )
    return Claim(record=record, owner="nightly/run/serve", owner_state="failed", standing=standing, renew=lambda: None)


def judged(jobs: list[RunningJob], claims: list[Claim], grace: float = GRACE) -> list[Verdict]:
    return [finding.verdict for finding in judge(jobs, claims, now=NOW, grace=grace)]


@pytest.mark.parametrize(
    ("kind", "standing", "expected"),
    [
        ("endpoint", Standing.ACTIVE, Verdict.WANTED),
        ("endpoint", Standing.SUCCEEDED, Verdict.KEEP),
        ("endpoint", Standing.FAILED, Verdict.ORPHAN),
        ("endpoint", Standing.CANCELLED, Verdict.ORPHAN),
        ("rl_session", Standing.FAILED, Verdict.ORPHAN),
        ("fine_tune", Standing.ACTIVE, Verdict.WANTED),
        ("fine_tune", Standing.SUCCEEDED, Verdict.LEAVE),
        ("fine_tune", Standing.FAILED, Verdict.LEAVE),
        ("fine_tune", Standing.CANCELLED, Verdict.ORPHAN),
        ("shared_volume", Standing.FAILED, Verdict.LEAVE),
        ("evaluation", Standing.CANCELLED, Verdict.LEAVE),
    ],
)
def test_a_job_is_judged_by_its_owner_and_by_whether_it_ends_by_itself(
    kind: str, standing: Standing, expected: Verdict
) -> None:
    assert judged([running(kind)], [claim(kind, standing=standing)]) == [expected]


def test_a_job_that_was_told_to_end_and_did_not_is_an_orphan() -> None:
    told = claim("fine_tune", job_state=JobState.CANCELLED)
    assert judged([running("fine_tune")], [told]) == [Verdict.ORPHAN]


def test_a_job_whose_id_was_never_learned_belongs_to_the_record_with_its_marker() -> None:
    [finding] = judge([running(marker=MARKERS[0])], [claim(job_id=None, marker=MARKERS[0])], now=NOW, grace=GRACE)
    assert finding.verdict is Verdict.ORPHAN
    assert finding.claim is not None
    assert finding.claim.owner == "nightly/run/serve"


def test_a_marker_without_a_record_is_unclaimed_and_a_job_without_a_marker_is_foreign() -> None:
    assert judged([running(marker=MARKERS[0])], []) == [Verdict.UNCLAIMED]
    assert judged([running()], [claim(job_id="another")]) == [Verdict.FOREIGN]


@pytest.mark.parametrize("marker", ["", MARKERS[0]])
def test_what_was_created_just_now_is_nobodys_orphan(marker: str) -> None:
    claims = [] if marker else [claim(age=30.0)]
    job = running(marker=marker, age=30.0)
    assert judged([job], claims) == [Verdict.YOUNG]
    assert judged([job], claims, grace=0.0) != [Verdict.YOUNG]


def test_a_job_that_nobody_claims_and_of_which_nobody_knows_the_age_counts_as_young() -> None:
    assert judged([running("cluster", marker=MARKERS[0], age=None)], []) == [Verdict.YOUNG]


jobs = st.builds(
    running,
    st.sampled_from(KINDS),
    st.sampled_from("123"),
    marker=st.sampled_from(["", *MARKERS]),
    age=st.none() | st.floats(-100, 10_000),
    usd=st.none() | st.floats(0, 10),
)
claims = st.builds(
    claim,
    st.sampled_from(KINDS),
    st.none() | st.sampled_from("1234"),
    st.sampled_from(Standing),
    marker=st.sampled_from(MARKERS),
    age=st.floats(-100, 10_000),
    job_state=st.none() | st.sampled_from(JobState),
)


@given(jobs=st.lists(jobs, max_size=6), claims=st.lists(claims, max_size=8), grace=st.sampled_from([0.0, GRACE]))
def test_nothing_that_anybody_wants_or_that_is_not_ours_may_be_ended(
    jobs: list[RunningJob], claims: list[Claim], grace: float
) -> None:
    findings = judge(jobs, claims, now=NOW, grace=grace)
    assert len(findings) == len(jobs)
    for finding in findings:
        job = finding.job
        own = [
            held
            for held in claims
            if (held.record.kind, held.record.id) == (job.reference.kind, job.reference.id)
            or held.record.marker == job.marker
        ]
        if any(held.standing is Standing.ACTIVE for held in own):
            assert finding.verdict is Verdict.WANTED
        if not own:
            assert finding.verdict in ((Verdict.UNCLAIMED, Verdict.YOUNG) if job.marker else (Verdict.FOREIGN,))
        if finding.verdict is Verdict.ORPHAN:
            assert own
            assert finding.age is not None
            assert finding.age >= grace


ORPHAN = Finding(job=running(usd=3.99), verdict=Verdict.ORPHAN, claim=claim(), age=11_520.0)
SESSION = Finding(job=running("rl_session", "s"), verdict=Verdict.ORPHAN, claim=claim("rl_session", "s"), age=59.0)
FOREIGN = Finding(job=running("endpoint", "theirs", usd=2.0), verdict=Verdict.FOREIGN)


def test_the_first_line_tells_how_many_orphans_there_are_and_what_they_cost() -> None:
    assert SweepReport(findings=(FOREIGN,)).headline() == "No orphans."
    assert SweepReport(findings=(ORPHAN,)).headline() == "1 orphan running, at $3.99 an hour."
    stray = Finding(job=running(marker=MARKERS[0], usd=1.0), verdict=Verdict.UNCLAIMED, age=9000.0)
    assert SweepReport(findings=(stray,)).headline() == "No orphans. 1 unclaimed job running, at $1.00 an hour."
    assert SweepReport(findings=(stray,)).is_clean, "it may be somebody's"
    both = SweepReport(findings=(ORPHAN, SESSION)).headline()
    assert both == "2 orphans running, at $3.99 an hour and 1 without a known price."


def test_an_orphan_is_told_with_its_age_its_price_and_its_owner_and_a_foreign_job_only_counted() -> None:
    report = SweepReport(findings=(ORPHAN, FOREIGN))
    assert report.text().splitlines() == [
        "1 orphan running, at $3.99 an hour.",
        "verdict  job         state    age         $ an hour  whose",
        "orphan   endpoint:1  started  3 h 12 min  3.99       nightly/run/serve (failed)",
        "Not ours, and never touched: 1 endpoint, at $2.00 an hour.",
    ]
    assert [job["reference"] for job in report.to_dict()["jobs"]] == ["endpoint:1"]
    assert report.to_dict()["counts"]["foreign"] == 1
    assert not report.is_clean


def test_a_thousand_wanted_jobs_do_not_hide_the_one_that_matters() -> None:
    wanted = tuple(
        Finding(job=running("batch", str(number)), verdict=Verdict.WANTED, claim=claim("batch", str(number)), age=1.0)
        for number in range(1000)
    )
    report = SweepReport(findings=(ORPHAN, *wanted))
    lines = report.text().splitlines()
    assert len(lines) < 30
    assert lines[2].startswith("orphan")
    assert lines[-1] == "Wanted, and not shown: 980 batch, at $0.00 an hour."
    assert len(report.to_dict()["jobs"]) == 1001


def test_what_was_ended_is_told_with_what_it_saves_and_what_was_not_with_the_reason() -> None:
    ended = {ORPHAN.reference: Ended(True, "gone"), SESSION.reference: Ended(False, "503")}
    report = SweepReport(findings=(ORPHAN, SESSION), stopping=True, ended=ended)
    assert report.headline() == (
        "1 job ended, which cost $3.99 an hour. 1 orphan running, at a price that the API does not tell."
    )
    assert "rl_session:s was not ended: 503" in report.notes()
    assert report.remaining == [SESSION]
    assert SweepReport(findings=(ORPHAN,), stopping=True, ended=ended).is_clean


def test_a_list_that_cannot_be_read_for_now_is_no_clean_sweep_and_one_that_is_closed_to_the_account_is() -> None:
    down = Unlisted("endpoint", ServerFailed("down", status_code=503))
    closed = Unlisted("rl_session", PermissionDenied("not for you", status_code=403))
    assert not SweepReport(findings=(), unlisted=(down,)).is_clean
    report = SweepReport(findings=(), unlisted=(closed, Unlisted("cluster", NotFound("none", status_code=404))))
    assert report.is_clean
    assert "not for you" in report.notes()[0]


def test_a_creation_whose_answer_was_lost_is_told_where_nothing_can_be_found_by_it() -> None:
    session = claim("rl_session", None)
    assert is_lost(session.record)
    assert not is_lost(claim("endpoint", None).record), "an endpoint is found by its marker"
    assert not is_lost(replace(session.record, phase=Phase.PREPARING))
    [note] = SweepReport(findings=(), lost=(session,)).notes()
    assert "nightly/run/serve" in note
    assert "Together's site" in note


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.9, "59 s"), (61, "1 min"), (3600, "1 h 0 min"), (180_000, "2 d 2 h")]
)
def test_an_age_is_told_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
