"""The wait for one job, decided apart from I/O.

`Wait` is a small object with no clock and no socket: it is told what was seen, or what went wrong, and when, and it
answers what to do next. The trigger, the operator in its process, the Prefect task and the command line all feed the
same object, so they cannot drift apart.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from together_flows.errors import (
    ApiError,
    ArgumentInvalid,
    AuthenticationFailed,
    NotFound,
    PermissionDenied,
    TogetherError,
)
from together_flows.jobs.kind import JobKind
from together_flows.jobs.model import JobEvent, JobReference, JobState, JobStatus
from together_flows.jobs.steps import Elapsed, Log, Now, Send, Sleep, Steps

__all__ = [
    "Decision",
    "Done",
    "EventTail",
    "Expired",
    "GiveUp",
    "LookAgain",
    "Wait",
    "WaitPolicy",
    "show_events",
    "waiting",
    "with_progress",
]


@dataclass(frozen=True)
class WaitPolicy:
    """How to wait.

    Attributes:
        deadline: when to give up, in seconds since the epoch, so that no restart prolongs it; `None` for never.
        interval: seconds between two looks, in the long run. The first looks come sooner.
        tolerance: seconds of nothing but failures after which the wait gives up and leaves the job alive.
        refusals: how many times in a row the API may refuse to show the job (401, 403, 404) before the wait gives up.
    """

    deadline: float | None = None
    interval: float = 15.0
    tolerance: float = 3600.0
    refusals: int = 5

    #: The first pause between two looks, in seconds; it grows by `growth` up to `interval`.
    first: float = 1.0
    growth: float = 1.5

    def measured(self, now: float, elapsed: float) -> WaitPolicy:
        """The same with its deadline in elapsed time, so that setting the clock neither ends the wait nor prolongs it.

        Args:
            now: seconds since the epoch.
            elapsed: the same moment, in elapsed time.
        """
        return self if self.deadline is None else replace(self, deadline=elapsed + self.deadline - now)


@dataclass(frozen=True)
class LookAgain:
    """Look again after so many seconds."""

    after: float


@dataclass(frozen=True)
class Done:
    """The job is final."""

    status: JobStatus


@dataclass(frozen=True)
class Expired:
    """The deadline has passed."""


@dataclass(frozen=True)
class GiveUp:
    """Looking makes no sense any more. The job is left alive."""

    error: TogetherError


Decision: TypeAlias = LookAgain | Done | Expired | GiveUp


class Wait:
    """Decides, look by look, how the wait for one job goes on.

    Args:
        reference: the job.
        policy: how to wait. Its deadline is on the clock that the moments of looks are told from.
        spread: where in its jitter a pause lies, 0 to 1; random unless a test says otherwise.
    """

    def __init__(
        self, reference: JobReference, policy: WaitPolicy, *, spread: Callable[[], float] = random.random
    ) -> None:
        self.reference = reference
        self.policy = policy
        self._spread = spread
        self._pause = min(policy.first, policy.interval)
        self._failing_since: float | None = None
        self._refused = 0
        self._warned: set[str] = set()

    def saw(self, status: JobStatus, now: float) -> Decision:
        """A look succeeded."""
        self._failing_since, self._refused = None, 0
        if status.state.is_final:
            return Done(status)
        return self._next(now, self._grow())

    def failed(self, error: TogetherError, now: float) -> Decision:
        """A look failed."""
        if self._failing_since is None:
            self._failing_since = now
        if isinstance(error, ArgumentInvalid):  # what is no id today is none tomorrow
            return GiveUp(self._given_up(error, "It cannot be looked at"))
        if isinstance(error, AuthenticationFailed | PermissionDenied | NotFound):
            self._refused += 1
            if self._refused >= self.policy.refusals:
                return GiveUp(self._given_up(error, f"The API refused to show it {self._refused} times in a row"))
        failing = now - self._failing_since
        if failing >= self.policy.tolerance:
            return GiveUp(self._given_up(error, f"Looking at it has failed for {failing:.0f} s"))
        asked = error.retry_after if isinstance(error, ApiError) else None
        return self._next(now, max(self._grow(), asked or 0.0))

    def surprise(self, status: JobStatus) -> str:
        """A warning about a status that this version does not know, once per status; empty otherwise."""
        if status.known or status.raw in self._warned:
            return ""
        self._warned.add(status.raw)
        return f"{self.reference} has a status unknown to this version, {status.raw!r}; it counts as running."

    def _grow(self) -> float:
        pause = self._pause * (0.8 + 0.4 * self._spread())
        self._pause = min(self._pause * self.policy.growth, self.policy.interval)
        return pause

    def _next(self, now: float, pause: float) -> Decision:
        if self.policy.deadline is None:
            return LookAgain(pause)
        left = self.policy.deadline - now
        return LookAgain(min(pause, left)) if left > 0 else Expired()

    def _given_up(self, error: TogetherError, why: str) -> TogetherError:
        return TogetherError(
            f"The wait for {self.reference} was given up: {why}. Last: {error}",
            mend="The job was left alone and may still run; a retry of the task waits for it again.",
            retryable=not isinstance(error, ArgumentInvalid | AuthenticationFailed | PermissionDenied),
        )


class EventTail:
    """Remembers which lines of a job's own log were shown."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def fresh(self, events: list[JobEvent]) -> list[JobEvent]:
        """The events that were not shown before, in their order."""
        new = [event for event in events if event.key not in self._seen]
        self._seen.update(event.key for event in new)
        return new


def waiting(
    kind: JobKind, job_id: str, policy: WaitPolicy, *, on_status: Callable[[JobStatus], None] | None = None
) -> Steps[Done | Expired | GiveUp]:
    """Steps that look at one job until it is final, the deadline passes, or looking makes no sense any more.

    State changes and the job's own events go to the log as they come.

    Args:
        kind: the job's kind.
        job_id: the job.
        policy: how to wait.
        on_status: called with each status that differs from the one before. It may block.
    """
    wait = Wait(JobReference(kind.name, job_id), policy.measured((yield Now()), (yield Elapsed())))
    tail = EventTail()
    shown = ""
    while True:
        try:
            status = kind.status((yield Send(kind.read(job_id).untyped())), job_id)
        except TogetherError as error:
            now: float = yield Elapsed()
            decision = wait.failed(error, now)
            yield Log(f"Looking at {wait.reference} failed: {error}", "warning")
        else:
            now = yield Elapsed()
            decision = wait.saw(status, now)
            if surprise := wait.surprise(status):
                yield Log(surprise, "warning")
            status = with_progress(status, (yield from show_events(kind, job_id, tail)))
            if (line := status.describe()) != shown:
                yield Log(line, "error" if status.state is JobState.FAILED else "info")
                shown = line
                if on_status:
                    on_status(status)
        if not isinstance(decision, LookAgain):
            return decision
        yield Sleep(decision.after)


def show_events(kind: JobKind, job_id: str, tail: EventTail) -> Steps[float | None]:
    """Steps that log the job's own events that were not logged yet, and answer with the progress that they tell.

    That they cannot be read is no failure.
    """
    if kind.events is None:
        return None
    try:
        answer = yield Send(kind.events(job_id).untyped())
    except TogetherError as error:
        yield Log(f"The events of {kind.name}:{job_id} could not be read: {error}", "debug")
        return None
    events = list(kind.event_lines(answer))
    for event in tail.fresh(events):
        yield Log(event.text, event.level)
    return max((event.progress for event in events if event.progress is not None), default=None)


def with_progress(status: JobStatus, told_by_events: float | None) -> JobStatus:
    """The status with the progress that the job's events tell, where its row tells none."""
    return replace(status, progress=told_by_events) if status.progress is None else status
