"""What a job kind is, and the list of all kinds.

A kind is a declaration: which operations create, read, list and end a job, what its statuses mean, how a lost one is
recognised, and what its result is. Adding a kind means adding one module with a `KIND` and one line to `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from together_flows.errors import AnswerInvalid, ArgumentInvalid
from together_flows.jobs.model import JobEvent, JobReference, JobState, JobStatus, Row, Spec
from together_flows.jobs.record import fingerprint

if TYPE_CHECKING:
    from together_flows.api import Operation
    from together_flows.jobs.steps import Send, Steps, Upload

__all__ = ["KINDS", "JobKind", "Prepared", "carried_in", "content_not_place", "kind_named", "rows_under"]

#: Every kind, by name, with the module that declares it.
KINDS: Mapping[str, str] = {
    "file": "together_flows.jobs.file",
    "fine_tune": "together_flows.jobs.fine_tune",
    "batch": "together_flows.jobs.batch",
    "evaluation": "together_flows.jobs.evaluation",
    "endpoint": "together_flows.jobs.endpoint",
    "model_upload": "together_flows.jobs.model_upload",
    "deployment": "together_flows.jobs.deployment",
    "cluster": "together_flows.jobs.cluster",
    "shared_volume": "together_flows.jobs.shared_volume",
    "video": "together_flows.jobs.video",
    "queue": "together_flows.jobs.queue",
    "rl_session": "together_flows.jobs.rl_session",
    "rl_operation": "together_flows.jobs.rl_operation",
}


_PLACES = ("path", "input_path")
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)
_FINAL = tuple(state for state in JobState if state.is_final)


def rows_under(key: str) -> Callable[[Any], Sequence[Row]]:
    """The rows of a list under a key, which may be `null` when it is empty; or of a bare list, which may not."""

    def rows(answer: Any) -> Sequence[Row]:
        found: Any = answer
        if isinstance(answer, Mapping):
            found = () if answer[key] is None else answer[key]
        if not isinstance(found, Sequence) or isinstance(found, str):
            raise TypeError(f"no list but {type(found).__name__}")
        return found

    return rows


_rows_in_data = rows_under("data")


def _nothing(_: Row) -> None:
    return None


#: Longest value that an outline of a row shows, in characters.
_OUTLINE_LENGTH = 200


def _no_words(_: Row) -> str:
    return ""


def _never(_: Row) -> bool:
    return False


def content_not_place(spec: Spec) -> Spec:
    """A specification without the path of a local file where `input_sha256` says what lies there."""
    return {key: value for key, value in spec.items() if key not in _PLACES or not spec.get("input_sha256")}


def carried_in(marked: Callable[[Row], str]) -> Callable[[Row, str, Mapping[str, str]], bool]:
    """For `JobKind.carries`: a row is the job of the marker that stands in its marked text."""
    return lambda row, marker, facts: marker in marked(row)


@dataclass(frozen=True)
class Prepared:
    """A specification ready to be sent, and the facts by which its job can be found again."""

    spec: Spec
    facts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class JobKind:
    """One sort of long-running work.

    Attributes:
        name: the key in `KINDS`.
        noun: what people call it.
        states: the API's statuses in lower case, and what each means. One that is missing counts as running.
        create: the step that creates the job from a specification.
        read: the operation that reads one job.
        new_id: the job's id in the answer to its creation.
        whole_id: the id that `read` takes, out of the job's own and its specification, where reading takes more.
        list_all: the operation that reads all jobs at once, where there is one.
        rows: the jobs in that operation's answer.
        id_of: the id in such a row.
        raw_status: the API's status in a row.
        progress: share done in a row, 0 to 1.
        seconds_remaining: the API's estimate in a row.
        failure: the job's own words about its failure in a row.
        lasting: whether the failure in a row would come again, however often the same is submitted.
        mark: puts the marker into a specification.
        prepare: steps before the creation that cost nothing, such as uploading the job's own input file.
        marked: the text of a row in which the marker travels, where rows show it.
        marked_file: the id in a row of the file whose name carries the marker, where the rows themselves do not.
        carries: whether a row is the job of this marker and these facts; `None` where a lost job cannot be found again.
        needs_facts: `carries` can only tell with facts from `prepare`; without them a lost job cannot be found again.
        marker_in_full_row: the rows of the list do not show the marker; each candidate is read by itself.
        candidate: whether a row of the list could be the job, to read no more of them than needed.
        read_named: the operation that reads the job by a name out of the facts, where the API lets only one job have
            it. A lost job is then looked for in this way and not in the list.
        repeatable: creating the same again is harmless, because the API recognises it.
        end: steps that end the job for good; `None` where the API cannot, or where ending it would harm others.
        end_note: why `end` is missing, for the log.
        bills_until_stopped: whether it costs money until somebody ends it, also after it has "succeeded".
        over: the states in which it has ended for good, and costs nothing more. A kind that is over only when the API
            does not find it any more has none.
        events: the operation that reads the job's own log, where there is one.
        event_lines: the lines in that operation's answer, oldest first.
        manifest: the job's result as small JSON.
        secret_fields: fields of a row that hold secrets, and so never leave in an error.
        secret_arguments: arguments that never count into the fingerprint, at any depth.
        inputs: what of a specification tells one intention from another. It leaves out where a file lies on this
            machine when a digest of its content is given beside it.
    """

    name: str
    noun: str
    states: Mapping[str, JobState]
    create: Callable[[Spec], Send | Upload]
    read: Callable[[str], Operation[Any]]
    new_id: Callable[[Any], str]
    manifest: Callable[[Row], dict[str, Any]]
    whole_id: Callable[[str, Spec], str] = lambda own_id, spec: own_id
    list_all: Callable[[], Operation[Any]] | None = None
    rows: Callable[[Any], Sequence[Row]] = _rows_in_data
    id_of: Callable[[Row], str] = lambda row: str(row["id"])
    raw_status: Callable[[Row], str] = lambda row: str(row["status"])
    progress: Callable[[Row], float | None] = _nothing
    seconds_remaining: Callable[[Row], float | None] = _nothing
    failure: Callable[[Row], str] = _no_words
    lasting: Callable[[Row], bool] = _never
    mark: Callable[[Spec, str], Spec] = lambda spec, marker: spec
    prepare: Callable[[Spec, str], Steps[Prepared]] | None = None
    marked: Callable[[Row], str] | None = None
    marked_file: Callable[[Row], str] | None = None
    carries: Callable[[Row, str, Mapping[str, str]], bool] | None = None
    needs_facts: bool = False
    marker_in_full_row: bool = False
    candidate: Callable[[Row, Spec], bool] = lambda row, spec: True
    read_named: Callable[[Mapping[str, str]], Operation[Any]] | None = None
    repeatable: bool = False
    end: Callable[[str], Steps[None]] | None = None
    end_note: str = ""
    bills_until_stopped: bool = False
    over: Collection[JobState] = _FINAL
    events: Callable[[str], Operation[Any]] | None = None
    event_lines: Callable[[Any], Sequence[JobEvent]] = lambda answer: ()
    secret_fields: Collection[str] = ()
    secret_arguments: Collection[str] = ()
    inputs: Callable[[Spec], Spec] = lambda spec: spec

    def fingerprint(self, spec: Spec) -> str:
        """A digest of what a specification wants, the same for the same intention."""
        return fingerprint(self.name, self.inputs(spec), ignored=self.secret_arguments)

    def outline(self, row: Row) -> dict[str, Any]:
        """The short, plain facts of a row, without secrets: what an error may carry about its job."""
        return {
            name: value
            for name, value in row.items()
            if name not in self.secret_fields
            and (value is None or isinstance(value, bool | int | float | str))
            and len(str(value)) <= _OUTLINE_LENGTH
        }

    def status(self, row: Row, job_id: str | None = None) -> JobStatus:
        """What a row of the API says, in the words that all kinds share.

        Args:
            row: the job as the API sent it.
            job_id: the id by which it was read; by default the one in the row, which not all kinds tell in full.

        Raises:
            AnswerInvalid: the row has no id or no status.
        """
        try:
            return self._status(row, job_id)
        except _MALFORMED as error:
            raise AnswerInvalid(f"The API sent a malformed row of a {self.noun}: {error!r}.") from None

    def result(self, row: Row) -> dict[str, Any]:
        """The manifest of a job that has succeeded.

        Raises:
            AnswerInvalid: the row lacks what every such job has.
        """
        try:
            return self.manifest(row)
        except _MALFORMED as error:
            raise AnswerInvalid(f"The API sent a malformed row of a {self.noun}: {error!r}.") from None

    def jobs_in(self, answer: Any) -> dict[str, Row]:
        """The jobs in the answer of `list_all`, by id, in their order.

        Raises:
            AnswerInvalid: the answer is no list of jobs. It must not pass for an empty one: a lost job would then be
                submitted a second time.
        """
        try:
            return {self.id_of(row): row for row in self.rows(answer)}
        except _MALFORMED as error:
            raise AnswerInvalid(f"The API sent a malformed list of {self.noun}s: {error!r}.") from None

    def _status(self, row: Row, job_id: str | None) -> JobStatus:
        raw = self.raw_status(row)
        state = self.states.get(raw.lower())
        shown = state or JobState.RUNNING
        return JobStatus(
            reference=JobReference(self.name, job_id or self.id_of(row)),
            state=shown,
            raw=raw,
            known=state is not None,
            progress=self.progress(row),
            seconds_remaining=self.seconds_remaining(row),
            message=self.failure(row) if shown in (JobState.FAILED, JobState.EXPIRED) else "",
            row=row,
        )


@cache
def kind_named(name: str) -> JobKind:
    """The kind of that name.

    Raises:
        ArgumentInvalid: there is none.
    """
    if name not in KINDS:
        raise ArgumentInvalid(f"{name!r} is not a job kind.", mend=f"Use one of {', '.join(KINDS)}.")
    kind = import_module(KINDS[name]).KIND
    assert isinstance(kind, JobKind)
    return kind
