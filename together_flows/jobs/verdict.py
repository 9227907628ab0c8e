"""What should become of each job that runs remotely: a pure judgement of a census by the claims on its jobs.

The invariants:

- A job that any claim wants is never an orphan.
- A job without a marker of ours that nobody claims is foreign, whatever it costs.
- A job is never an orphan before it has lived for the grace period.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from together_flows.jobs.census import RunningJob
from together_flows.jobs.claim import Claim, Standing
from together_flows.jobs.kind import kind_named
from together_flows.jobs.model import JobReference, JobState
from together_flows.jobs.record import JobRecord

__all__ = ["Finding", "Verdict", "judge", "verdict_of"]


class Verdict(StrEnum):
    """What a running job is. The order is that of a report, the most urgent first."""

    ORPHAN = "orphan"  # its owner is over, and nobody can want it
    UNCLAIMED = "unclaimed"  # ours by its marker, and no record is known: another Airflow may own it
    YOUNG = "young"  # it would be one of these two, and has just been created
    LEAVE = "leave"  # its owner is over; it ends by itself, and whoever tries again adopts it
    KEEP = "keep"  # its owner has succeeded and left it on purpose
    WANTED = "wanted"  # its owner runs, waits or will be tried again
    FOREIGN = "foreign"  # nothing says that it is ours


#: Where several claim a job, the word of the one that protects it most counts.
_PROTECTION = (Verdict.WANTED, Verdict.KEEP, Verdict.LEAVE, Verdict.ORPHAN)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One job and what it is.

    Attributes:
        job: the job.
        verdict: what it is.
        claim: who owns it, where that is known.
        age: seconds since its creation; `None` where nobody tells.
    """

    job: RunningJob
    verdict: Verdict
    claim: Claim | None = None
    age: float | None = None

    @property
    def reference(self) -> JobReference:
        """Which job."""
        return self.job.reference


def verdict_of(record: JobRecord, standing: Standing) -> Verdict:
    """What should become of a job that still runs, by how its owner stands.

    Args:
        record: what its owner knows of it.
        standing: how the owner stands.
    """
    kind = kind_named(record.kind)
    if standing is Standing.ACTIVE:
        return Verdict.WANTED
    if kind.end is None:
        return Verdict.LEAVE
    if standing is Standing.CANCELLED or record.job_state is JobState.CANCELLED:  # it was told to end, and did not
        return Verdict.ORPHAN
    if not kind.bills_until_stopped:
        return Verdict.LEAVE
    return Verdict.KEEP if standing is Standing.SUCCEEDED else Verdict.ORPHAN


def judge(jobs: Iterable[RunningJob], claims: Iterable[Claim], *, now: float, grace: float) -> list[Finding]:
    """Tell for each job what it is; orphans first, the dearest first.

    Args:
        jobs: what runs.
        claims: what is claimed. They must have been read after the jobs: a record is stored before its job is created,
            so that a job which nobody claims then has no record.
        now: seconds since the epoch.
        grace: seconds that a job must have lived before it can be an orphan, or be ended because nobody claims it.
    """
    by_reference, by_marker = _index(claims)
    findings = [
        _judged(job, [*by_reference.get(job.reference, ()), *by_marker.get(job.marker, ())], now=now, grace=grace)
        for job in jobs
    ]
    return sorted(findings, key=_urgency)


def _index(claims: Iterable[Claim]) -> tuple[Mapping[JobReference, list[Claim]], Mapping[str, list[Claim]]]:
    by_reference: dict[JobReference, list[Claim]] = {}
    by_marker: dict[str, list[Claim]] = {}
    for claim in claims:
        if claim.record.id is not None:
            by_reference.setdefault(claim.record.reference, []).append(claim)
        if claim.record.marker:
            by_marker.setdefault(claim.record.marker, []).append(claim)
    return by_reference, by_marker


def _judged(job: RunningJob, claims: list[Claim], *, now: float, grace: float) -> Finding:
    if claims:
        words = [verdict_of(claim.record, claim.standing) for claim in claims]
        verdict = min(words, key=_PROTECTION.index)
        claim = claims[words.index(verdict)]
        found = Finding(job=job, verdict=verdict, claim=claim, age=_age(now, claim.record.intent_at))
    else:
        verdict = Verdict.UNCLAIMED if job.marker else Verdict.FOREIGN
        found = Finding(job=job, verdict=verdict, age=_age(now, job.created_at))
    endangered = found.verdict in (Verdict.ORPHAN, Verdict.UNCLAIMED)
    if endangered and grace > 0 and (found.age is None or found.age < grace):
        return Finding(job=job, verdict=Verdict.YOUNG, claim=found.claim, age=found.age)
    return found


def _age(now: float, since: float | None) -> float | None:
    """The emulator's clock may be ahead of ours."""
    return None if since is None else max(now - since, 0.0)


def _urgency(finding: Finding) -> tuple[int, float, JobReference]:
    return list(Verdict).index(finding.verdict), -(finding.job.usd_per_hour or 0.0), finding.reference
