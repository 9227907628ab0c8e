"""What the API and the network do to a job on a bad day: the faults of the matrix' row 6, and what must follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tests.e2e.matrix.api_desk import ApiDesk
from tests.integration.jobs.desk import CASES
from together_flows.jobs import KINDS, JobState, kind_named

DAY = 86_400.0
#: Requests that one send makes at most before it gives up.
_ATTEMPTS = 5
_STATUSES = (429, 500, 502, 503, 504)


@dataclass(frozen=True, kw_only=True)
class Bad:
    """Something that goes wrong.

    Attributes:
        case: what, in a few words.
        arm: makes it go wrong, when all that the job needs is there.
        kinds: whom it can happen to.
        lost: whether the creation's answer is lost, before or after the effect. A kind that cannot be found again then
            ends in `SubmissionUnknown`.
        late: whether the creation outlasts the client's time-out, so that real seconds count.
        dies: whether the process dies when the job is there and its id is not stored yet.
        looks: seconds between two looks at the job.
        there: whether the account has the very file already, so that none is made.
    """

    case: str
    arm: Callable[[ApiDesk, str], None]
    kinds: tuple[str, ...] = tuple(KINDS)
    lost: Literal["", "before", "after"] = ""
    late: bool = False
    dies: bool = False
    looks: float = 2.0
    there: bool = False

    def is_told(self, kind: str) -> bool:
        """Whether the task must end by telling a person, because the API offers nothing to find the job by."""
        return bool(self.lost) and not CASES[kind].findable

    def wanted(self, kind: str) -> int:
        """How many jobs are to be made."""
        if self.is_told(kind):
            return int(self.lost == "after")
        return 0 if self.there and kind == "file" else 1


#: The request that makes the job: for a file the one that brings its bytes.
_EFFECTS = {name: ("POST", case.creates) for name, case in CASES.items()} | {"file": ("PUT", "/_storage/{token}")}
#: The request whose answer tells the new job's id.
_ANSWERS = {**_EFFECTS, "file": ("POST", "/files/{id}/preprocess")}
_IDS = ["id", "job_id", "workflow_id", "cluster_id", "volume_id", "request_id", "requestId"]
#: Kinds that upload what they are given as it is. A batch's copy is its own, so that no account has it already.
UPLOADED = ("file", "evaluation")
#: What a row does not tell yet while it is older than the job's end.
_NOT_YET = {"batch": {"output_file_id": None}}


def _creating(where: Mapping[str, tuple[str, str]] = _EFFECTS, **fault: Any) -> Callable[[ApiDesk, str], None]:
    def arm(desk: ApiDesk, kind: str) -> None:
        method, path = where[kind]
        desk.emulator.fault(method=method, path=path, **fault)

    return arm


def _reading(**fault: Any) -> Callable[[ApiDesk, str], None]:
    def arm(desk: ApiDesk, kind: str) -> None:
        desk.emulator.fault(method="GET", path=CASES[kind].reads, **fault)

    return arm


def _shows(desk: ApiDesk, kind: str, status: str, **fault: Any) -> None:
    """Have reads show another status than the job's own."""
    key = {"file": "processing_status", "endpoint": "state"}.get(kind, "status")
    _reading(replace={key: status, **_NOT_YET.get(kind, {})}, **fault)(desk, kind)


def _raw(kind: str, *states: JobState) -> str:
    """A status that the kind's API has for one of these states."""
    return next(raw for raw, state in kind_named(kind).states.items() if state in states)


def _unknown_status(desk: ApiDesk, kind: str) -> None:
    _shows(desk, kind, "daydreaming", times=3)


def _running_then_queued(desk: ApiDesk, kind: str) -> None:
    _shows(desk, kind, _raw(kind, JobState.RUNNING), times=1)
    _shows(desk, kind, _raw(kind, JobState.QUEUED, JobState.RUNNING), times=2)


def _done_then_running(desk: ApiDesk, kind: str) -> None:
    """The job is done when the wait first looks, and runs again for whoever reads its result."""
    desk.when_submitted = lambda record: desk.until_done(record)
    desk.when_waited = lambda: _shows(desk, kind, _raw(kind, JobState.RUNNING), times=3)


def _twenty_minutes(desk: ApiDesk, kind: str) -> None:
    _reading(status=503, times=None)(desk, kind)

    def begins(record: object) -> None:
        desk.clock.at(desk.clock.elapsed() + 1_200, desk.emulator.clear_faults)

    desk.when_submitted = begins


def _clock_set_while_waiting(by: float) -> Callable[[ApiDesk, str], None]:
    def arm(desk: ApiDesk, kind: str) -> None:
        _reading(status=500, times=3 * _ATTEMPTS)(desk, kind)
        desk.clock.jumps_at_each_sleep = by

    return arm


def _clock_set_while_looking(by: float) -> Callable[[ApiDesk, str], None]:
    def arm(desk: ApiDesk, kind: str) -> None:
        _list_is_late(desk, kind)
        desk.clock.jumps_at_each_sleep = by

    return arm


def _retry_elsewhere(by: float) -> Callable[[ApiDesk, str], None]:
    """The retry runs on a machine whose clock differs, while lists do not show the job yet."""

    def arm(desk: ApiDesk, kind: str) -> None:
        desk.emulator.settings(list_delay=15)
        desk.when_dead = lambda: desk.clock.set(by)

    return arm


def _list_is_late(desk: ApiDesk, kind: str) -> None:
    desk.emulator.settings(list_delay=15)
    _creating(drop="after")(desk, kind)


def _content_is_there(desk: ApiDesk, kind: str) -> None:
    """The API has the very content already, and so answers 409 to its upload."""
    desk.upload_as(kind)


def _content_under_another_purpose(desk: ApiDesk, kind: str) -> None:
    """The API's 409 points to a file that cannot be used."""
    desk.upload_as(kind)
    desk.emulator.fault(method="GET", path="/files/{id}", times=1, replace={"purpose": "batch-generated"})


#: The desk's clock is slow then, and its waits need not be.
_LATE: Any = {"late": True, "looks": 0.2}

FAULTS = [
    *(
        Bad(case=f"creating: {status}{how}", arm=_creating(status=status, times=2, headers=headers))
        for status, how, headers in (
            (429, " with Retry-After", {"Retry-After": "2"}),
            (429, "", {}),
            (503, "", {}),
        )
    ),
    *(Bad(case=f"creating: {status}", arm=_creating(status=status), lost="before") for status in (500, 502, 504)),
    *(
        Bad(case=f"creating: {status} after the effect", arm=_creating(status=status, effect=True), lost="after")
        for status in (500, 502, 504)
    ),
    Bad(case="creating: reset before the effect", arm=_creating(drop="before"), lost="before"),
    Bad(case="creating: reset after the effect", arm=_creating(drop="after"), lost="after"),
    Bad(case="creating: the answer cut in half", arm=_creating(_ANSWERS, truncate=15), lost="after"),
    Bad(case="creating: an answer without an id", arm=_creating(_ANSWERS, omit=_IDS), lost="after"),
    Bad(case="creating: the answer outlasts the time-out", arm=_creating(linger=1.5), lost="after", **_LATE),
    Bad(case="creating: the effect outlasts the time-out", arm=_creating(delay=0.6), lost="after", **_LATE),
    Bad(case="creating: the answer lost, the list late", arm=_list_is_late, lost="after"),
    Bad(case="creating: the clock set on by a day", arm=_clock_set_while_looking(DAY), lost="after"),
    Bad(case="creating: the clock set back by a day", arm=_clock_set_while_looking(-DAY), lost="after"),
    Bad(case="creating: a death, the retry a day ahead", arm=_retry_elsewhere(DAY), lost="after", dies=True),
    Bad(case="creating: a death, the retry a day behind", arm=_retry_elsewhere(-DAY), lost="after", dies=True),
    Bad(case="uploading: 409, the content is there", arm=_content_is_there, kinds=UPLOADED, there=True),
    Bad(case="uploading: 409, of another use", arm=_content_under_another_purpose, kinds=UPLOADED),
    Bad(case="waiting: 429 with Retry-After", arm=_reading(status=429, times=7, headers={"Retry-After": "2"})),
    *(Bad(case=f"waiting: {status}", arm=_reading(status=status, times=7)) for status in _STATUSES),
    Bad(case="waiting: reset", arm=_reading(drop="after", times=7)),
    Bad(case="waiting: the answer cut in half", arm=_reading(truncate=15, times=7)),
    Bad(case="waiting: an answer without an id", arm=_reading(omit=_IDS, times=3)),
    Bad(case="waiting: an unknown status", arm=_unknown_status),
    Bad(case="waiting: running, then queued", arm=_running_then_queued),
    Bad(case="waiting: done, then running", arm=_done_then_running),
    Bad(case="waiting: 20 minutes of failures", arm=_twenty_minutes, looks=60.0),
    Bad(case="waiting: the clock set on by a day", arm=_clock_set_while_waiting(DAY)),
    Bad(case="waiting: the clock set back by a day", arm=_clock_set_while_waiting(-DAY)),
]
