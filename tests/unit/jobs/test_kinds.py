"""What holds for every kind of job alike."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.unit.jobs.specimens import SECRET, SPECIMENS, Specimen
from together_flows.errors import ArgumentInvalid
from together_flows.jobs.cluster import MAX_NAME
from together_flows.jobs.fine_tune import MAX_SUFFIX
from together_flows.jobs.kind import KINDS, JobKind, kind_named
from together_flows.jobs.model import JobReference, JobState
from together_flows.jobs.pages import page_of
from together_flows.jobs.record import marker_in, new_marker
from together_flows.jobs.steps import Send, Upload

MARKER = "tf0123456789"

every_kind = pytest.mark.parametrize("name", KINDS)


def of(name: str) -> tuple[JobKind, Specimen]:
    return kind_named(name), SPECIMENS[name]


def test_there_is_a_specimen_of_every_kind() -> None:
    assert set(SPECIMENS) == set(KINDS)


@every_kind
def test_a_kind_is_called_as_it_is_listed(name: str) -> None:
    assert kind_named(name).name == name


def test_a_kind_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ArgumentInvalid, match="rl_operation"):
        kind_named("rl_operations")


@every_kind
def test_every_documented_status_is_known_and_means_what_it_says(name: str) -> None:
    kind, specimen = of(name)

    def states(raws: tuple[str, ...]) -> set[JobState]:
        statuses = [kind.status(specimen.with_status(raw)) for raw in raws]
        assert all(status.known for status in statuses)
        return {status.state for status in statuses}

    assert states(specimen.going) <= {JobState.QUEUED, JobState.RUNNING}
    assert states(specimen.good) == {JobState.SUCCEEDED}
    assert states(specimen.bad) <= {JobState.FAILED, JobState.EXPIRED}
    assert states(specimen.halted) <= {JobState.CANCELLED}


@every_kind
@given(raw=st.text(min_size=1))
def test_an_unknown_status_counts_as_running(name: str, raw: str) -> None:
    kind, specimen = of(name)
    status = kind.status(specimen.with_status(f"new {raw}"))
    assert (status.state, status.known) == (JobState.RUNNING, False)


@every_kind
def test_a_failed_row_without_any_words_is_still_read(name: str) -> None:
    kind, specimen = of(name)
    ids = {key: value for key, value in specimen.row.items() if key.endswith("id") or key == "model"}
    status = kind.status({**ids, specimen.status_key: specimen.bad[0]})
    assert status.state is JobState.FAILED
    assert isinstance(kind.lasting(status.row), bool)


@every_kind
def test_fields_that_are_null_are_read_like_absent_ones(name: str) -> None:
    kind, specimen = of(name)
    kept = {specimen.status_key, "model", "id", "job_id", "workflow_id", "cluster_id", "volume_id", "request_id"}
    row = {key: value if key in kept else None for key, value in specimen.row.items()}
    for raw in (*specimen.going, *specimen.good, *specimen.bad):
        row[specimen.status_key] = raw
        kind.status(row)
        json.dumps(kind.manifest(row))


@every_kind
def test_a_manifest_is_small_json_without_secrets(name: str) -> None:
    kind, specimen = of(name)
    text = json.dumps(kind.manifest(specimen.row))
    assert len(text.encode()) < 2_000
    assert SECRET not in text


@every_kind
def test_a_manifest_leads_with_the_id_of_the_job(name: str) -> None:
    kind, specimen = of(name)
    key, value = next(iter(kind.manifest(specimen.row).items()))
    assert key == ("file_id" if name == "file" else "id")
    assert value in specimen.row.values()


@every_kind
def test_the_words_of_a_status_hold_no_secret(name: str) -> None:
    kind, specimen = of(name)
    for raw in (*specimen.good, *specimen.bad):
        assert SECRET not in kind.status(specimen.with_status(raw)).describe()


def _at(spec: Any, way: tuple[str | int, ...], value: Any) -> Any:
    """A copy of the specification with a value put in."""
    copied = copy.deepcopy(spec)
    place = copied
    for step in way[:-1]:
        place = place[step]
    place[way[-1]] = value
    return copied


SECRET_PLACES = [
    pytest.param(name, way, id=f"{name}:{'.'.join(map(str, way))}")
    for name, specimen in SPECIMENS.items()
    for way in specimen.secrets
]


@pytest.mark.parametrize(("name", "way"), SECRET_PLACES)
def test_a_secret_does_not_count_into_the_fingerprint(name: str, way: tuple[str | int, ...]) -> None:
    kind, specimen = of(name)
    without = kind.fingerprint(specimen.spec)
    for secret in ("one", "another", SecretStr("a third")):
        assert kind.fingerprint(_at(specimen.spec, way, secret)) == without


@every_kind
def test_a_fingerprint_is_the_same_for_the_same_intention(name: str) -> None:
    kind, specimen = of(name)
    backwards = dict(reversed(specimen.spec.items()))
    assert kind.fingerprint(backwards) == kind.fingerprint(specimen.spec)
    assert kind.fingerprint(json.loads(json.dumps(specimen.spec))) == kind.fingerprint(specimen.spec)
    assert kind.fingerprint({**specimen.spec, "not_given": None}) == kind.fingerprint(specimen.spec)


@every_kind
def test_a_fingerprint_changes_with_each_argument(name: str) -> None:
    kind, specimen = of(name)
    for key in specimen.spec:
        assert kind.fingerprint({**specimen.spec, key: "something else"}) != kind.fingerprint(specimen.spec)


def test_kinds_with_the_same_arguments_have_other_fingerprints() -> None:
    assert len({kind_named(name).fingerprint({"model": "m"}) for name in KINDS}) == len(KINDS)


def _created(kind: JobKind, spec: dict[str, Any]) -> Send | Upload:
    """The step that creates a job, as a submission comes to it."""
    spec = {key: value for key, value in spec.items() if key != "input_path"}
    if kind.name == "batch":
        spec["input_file_id"] = "file-1"
    return kind.create(kind.mark(spec, MARKER))


@every_kind
def test_a_creation_is_a_valid_operation_and_carries_the_marker(name: str, tmp_path: Path) -> None:
    kind, specimen = of(name)
    step = _created(kind, specimen.place(tmp_path))
    if isinstance(step, Upload):
        assert step.path.exists()
        return
    request = json.dumps([step.operation.body, dict(step.operation.headers)], default=str)
    by_other_means = (kind.carries is None and not kind.repeatable) or kind.name == "batch"
    assert (MARKER in request) is not by_other_means


@every_kind
def test_only_a_creation_that_the_api_recognises_is_repeated_by_the_client(name: str, tmp_path: Path) -> None:
    kind, specimen = of(name)
    step = _created(kind, specimen.place(tmp_path))
    if isinstance(step, Send):
        assert step.operation.repeatable is kind.repeatable


LIMITED = [
    ("fine_tune", "suffix", MAX_SUFFIX),
    ("cluster", "cluster_name", MAX_NAME),
    ("shared_volume", "volume_name", MAX_NAME),
]


@pytest.mark.parametrize(("name", "argument", "limit"), LIMITED)
@given(own=st.text(min_size=1, max_size=200))
def test_a_marked_name_keeps_to_the_limit_and_ends_with_the_marker(
    name: str, argument: str, limit: int, own: str
) -> None:
    kind, specimen = of(name)
    marked = kind.mark({**specimen.spec, argument: own}, MARKER)[argument]
    assert len(marked) <= limit
    assert marked.endswith(MARKER)
    kept = marked.removesuffix(MARKER).removesuffix("-")
    assert own.startswith(kept)
    assert not marked.startswith("-") or own.startswith("-")


@pytest.mark.parametrize(("name", "argument"), [(name, argument) for name, argument, _ in LIMITED])
def test_a_name_that_is_short_enough_is_kept_whole(name: str, argument: str) -> None:
    kind, specimen = of(name)
    assert kind.mark({**specimen.spec, argument: "mine"}, MARKER)[argument] == f"mine-{MARKER}"


@every_kind
def test_a_row_carries_its_own_marker_and_no_other(name: str) -> None:
    from tests.unit.jobs.surfaces import SURFACES

    kind, specimen = of(name)
    if kind.carries is None:
        return
    step = _created(kind, dict(specimen.spec))
    assert isinstance(step, Send)
    surface = SURFACES[name]
    row = {**surface.shown(dict(step.operation.body or {})), surface.id_key: "x", surface.status_key: surface.begins}
    facts = {"own_input_file_id": "file-1"} if name == "batch" else {}
    assert kind.carries(row, MARKER, facts)
    assert not kind.carries(row, new_marker(), {})
    bare = {surface.id_key: "x", surface.status_key: surface.begins}
    assert not kind.carries(bare, MARKER, facts)


@every_kind
def test_the_marker_of_a_row_can_be_read_by_whoever_does_not_know_it(name: str) -> None:
    from tests.unit.jobs.surfaces import SURFACES

    kind, specimen = of(name)
    if kind.marked is None:
        assert kind.carries is None or kind.marked_file is not None
        return
    step = _created(kind, dict(specimen.spec))
    assert isinstance(step, Send)
    surface = SURFACES[name]
    row = {**surface.shown(dict(step.operation.body or {})), surface.id_key: "x", surface.status_key: surface.begins}
    assert marker_in(kind.marked(row)) == MARKER
    assert marker_in(kind.marked({surface.id_key: "x", surface.status_key: surface.begins})) == ""


@every_kind
def test_a_reference_survives_being_written_and_read(name: str) -> None:
    kind, specimen = of(name)
    reference = kind.status(specimen.row).reference
    assert JobReference.parse(str(reference)) == reference


@every_kind
def test_the_id_of_a_new_job_is_the_one_that_reading_takes(name: str) -> None:
    kind, specimen = of(name)
    job_id = kind.whole_id("own/id", specimen.spec)
    operation = kind.read(job_id)
    assert "own%2Fid" in operation.path or "own/id" in operation.query.values()
    assert kind.status(specimen.row, job_id).reference.id == job_id


@every_kind
def test_a_kind_that_cannot_be_ended_says_why(name: str) -> None:
    kind = kind_named(name)
    assert (kind.end is None) == bool(kind.end_note)


@every_kind
def test_what_bills_until_it_is_stopped_can_be_stopped(name: str) -> None:
    kind = kind_named(name)
    assert kind.bills_until_stopped == (name in ("endpoint", "deployment", "cluster", "rl_session"))
    assert kind.end is not None or not kind.bills_until_stopped
    assert JobState.SUCCEEDED not in kind.over or not kind.bills_until_stopped


@every_kind
def test_every_job_has_a_page(name: str) -> None:
    reference = JobReference(name, "a b/c")
    assert page_of(reference).startswith("https://api.together.ai")
    assert " " not in page_of(reference)


@every_kind
def test_a_job_in_the_emulator_has_its_page_there_under_its_own_id(name: str) -> None:
    kind, specimen = of(name)
    reference = JobReference(name, kind.whole_id("own id", specimen.spec))
    assert page_of(reference, "http://127.0.0.1:8000/v1") == f"http://127.0.0.1:8000/_emulator/jobs/{name}/own%20id"


def test_a_source_that_is_signed_anew_is_the_same_source() -> None:
    kind, address = kind_named("model_upload"), "https://bucket.s3.example/a.zip"
    signed = [
        {
            "model_name": "mine",
            "model_source": f"{address}?versionId={version}&X-Amz-Date=1&X-Amz-Signature={signature}",
        }
        for version, signature in ((1, "a"), (1, "b"), (2, "a"))
    ]
    first, again, newer = (kind.fingerprint(spec) for spec in signed)
    assert first == again
    assert first != newer


def test_what_a_job_wrote_is_kept_in_the_manifest_as_far_as_it_fits() -> None:
    kind, specimen = of("queue")
    manifest = kind.manifest(specimen.row)
    assert manifest["outputs"] == {"label": "bus"}
    assert manifest["outputs_left_out"] == 1
    assert "outputs_left_out" not in kind.manifest({**specimen.row, "outputs": {"label": "bus"}})


def test_an_error_carries_the_facts_of_a_job_and_none_of_its_secrets() -> None:
    row = {"cluster_id": "c-1", "status": "Degraded", "kube_config": "secret", "volumes": [{"volume_id": "v"}]}
    assert kind_named("cluster").outline(row) == {"cluster_id": "c-1", "status": "Degraded"}
