"""The words of long-running work: a job's reference, its state, and one look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from together_flows.errors import ArgumentInvalid

__all__ = ["JobEvent", "JobReference", "JobState", "JobStatus", "Row", "Spec"]

#: A job as the API sent it.
Row = Mapping[str, Any]
#: The arguments of a job's creation, as plain data.
Spec = Mapping[str, Any]


class JobState(StrEnum):
    """What a job is doing, in words that are the same for every kind."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change any more without somebody asking for it."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, order=True)
class JobReference:
    """Which job: its kind and its id. `str()` gives `kind:id`, and `parse` reads that back."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"

    @classmethod
    def parse(cls, text: str) -> JobReference:
        """Read `kind:id`.

        Raises:
            ArgumentInvalid: the text is not of that form.
        """
        kind, colon, id_ = text.partition(":")
        if not (kind and colon and id_):
            raise ArgumentInvalid(f"{text!r} is not a job reference.", mend="Write it as kind:id, such as batch:1a2b.")
        return cls(kind, id_)


@dataclass(frozen=True)
class JobStatus:
    """One look at a job.

    Attributes:
        reference: which job.
        state: the normalised state.
        raw: the API's own status.
        known: whether the API's status is one this version knows; an unknown one counts as running.
        progress: share done, 0 to 1, where the API tells it.
        seconds_remaining: the API's own estimate, where it gives one.
        message: the job's own words about a failure; empty otherwise.
        row: everything that the API sent.
    """

    reference: JobReference
    state: JobState
    raw: str
    known: bool = True
    progress: float | None = None
    seconds_remaining: float | None = None
    message: str = ""
    row: Row = field(default_factory=dict, repr=False)

    def describe(self) -> str:
        """One line for a log."""
        parts = [f"{self.reference}: {self.state}"]
        if self.raw.lower() != self.state:
            parts.append(f"({self.raw})")
        if self.progress is not None and not self.state.is_final:
            parts.append(f"{self.progress:.0%}")
        if self.seconds_remaining and not self.state.is_final:
            parts.append(f"about {self.seconds_remaining:.0f} s left")
        if self.message:
            parts.append(f"- {self.message}")
        return " ".join(parts)


@dataclass(frozen=True)
class JobEvent:
    """A line of a job's own log.

    Attributes:
        key: tells events of one job apart, so that none is shown twice.
        text: the line.
        level: `"info"`, `"warning"` or `"error"`.
        progress: share done, 0 to 1, where the event tells it.
    """

    key: str
    text: str
    level: str = "info"
    progress: float | None = None
