"""Answers that are not what the API promises: looked at again where that helps, and never taken for "nothing there"."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.jobs.specimens import SPECIMENS
from tests.unit.jobs.surfaces import SURFACES
from tests.unit.jobs.world import Process, Remote
from together_flows.errors import AnswerInvalid
from together_flows.jobs.ending import look
from together_flows.jobs.kind import KINDS, kind_named
from together_flows.jobs.model import JobState
from together_flows.jobs.record import JobRecord, Phase
from together_flows.jobs.submission import SubmissionPolicy, submission
from together_flows.jobs.waiting import Done, WaitPolicy, waiting

every_kind = pytest.mark.parametrize("name", KINDS)
MALFORMED = [None, [], "text", 7, {}, {"id": "x"}, {"status": None}]
LISTED = [name for name, surface in SURFACES.items() if surface.list and kind_named(name).carries]


@every_kind
@pytest.mark.parametrize("row", MALFORMED, ids=repr)
def test_a_malformed_row_is_an_invalid_answer(name: str, row: Any) -> None:
    if name == "file" and row == {"id": "x"}:
        return  # files of some purposes have no status, and are ready at once
    with pytest.raises(AnswerInvalid, match=kind_named(name).noun):
        kind_named(name).status(row)


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("answer", [None, "text", 7, {}, {"other": []}, [None], [{"status": "x"}]], ids=repr)
def test_a_malformed_list_is_an_invalid_answer(name: str, answer: Any) -> None:
    with pytest.raises(AnswerInvalid):
        kind_named(name).jobs_in(answer)


@pytest.mark.parametrize("name", LISTED)
def test_a_list_that_is_null_is_empty(name: str) -> None:
    empty = SURFACES[name].listed([])
    assert kind_named(name).jobs_in(empty) == {}
    if isinstance(empty, dict):
        assert kind_named(name).jobs_in(dict.fromkeys(empty)) == {}


class Answering(Process):
    """A process whose calls of one operation are answered with something else for a while."""

    bad: dict[str, list[Any]]

    def _perform(self, step: Any) -> Any:
        answer = super()._perform(step)
        name = getattr(getattr(step, "operation", None), "name", "")
        return self.bad[name].pop(0) if self.bad.get(name) else answer


def test_a_malformed_row_does_not_end_a_wait() -> None:
    remote, records = Remote(), dict[str, JobRecord]()
    process = Answering(remote, records)
    process.bad = {"batches.retrieve": [{}, None, "text"]}
    spec = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions"}
    record = process.drive(submission(kind_named("batch"), spec, SubmissionPolicy()))
    remote.finish(record.id, "COMPLETED")
    assert isinstance(process.drive(waiting(kind_named("batch"), record.id, WaitPolicy())), Done)
    assert process.bad == {"batches.retrieve": []}


def test_a_malformed_row_says_nothing_of_the_job() -> None:
    remote = Remote()
    process = Answering(remote, {})
    process.bad = {"fine_tunes.retrieve": [{}]}
    record = process.drive(submission(kind_named("fine_tune"), SPECIMENS["fine_tune"].spec, SubmissionPolicy()))
    status = process.drive(look(kind_named("fine_tune"), record.id))
    assert (status.state, status.raw, status.known) == (JobState.RUNNING, "unknown", False)


@pytest.mark.parametrize("answer", [None, {}, {"data": [{}]}, {"data": "text"}], ids=repr)
def test_a_malformed_list_never_means_that_a_lost_job_is_not_there(answer: Any) -> None:
    remote, records = Remote(lost_answers=1), dict[str, JobRecord]()
    process = Answering(remote, records)
    process.bad = {"fine_tunes.list": [answer]}
    flow = submission(kind_named("fine_tune"), SPECIMENS["fine_tune"].spec, SubmissionPolicy())
    with pytest.raises(AnswerInvalid):
        process.drive(flow)
    assert records["task"].phase is Phase.INTENT
    again = submission(kind_named("fine_tune"), SPECIMENS["fine_tune"].spec, SubmissionPolicy())
    assert [*remote.jobs] == [process.drive(again).id]
