"""Claims: what an orchestrator knows of a remote job, and whether it still wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from together_flows.jobs.finding import can_find
from together_flows.jobs.kind import kind_named
from together_flows.jobs.model import JobState
from together_flows.jobs.record import JobRecord, JobStore, MemoryStore, Phase

__all__ = ["Claim", "ClaimSource", "Standing", "is_lost", "is_over"]


class Standing(StrEnum):
    """How the owner of a job stands: the task, the flow run or the command that has submitted it."""

    ACTIVE = "active"  # it runs, waits, or will be tried again
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # also: crashed, or gone without a word
    CANCELLED = "cancelled"  # a person did not want it any more


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A job record, and how whoever wrote it stands now.

    Attributes:
        record: what was stored of the submission.
        owner: whose it is, in words that a person finds it by.
        owner_state: the owner's state in the orchestrator's own word.
        standing: what that state means.
        renew: reads the claim afresh; `None` if it is there no more. Asked just before its job is ended.
        store: keeps the record.
        key: under which it is kept.
    """

    record: JobRecord
    owner: str
    owner_state: str
    standing: Standing
    renew: Callable[[], Claim | None] = field(compare=False, repr=False)
    store: JobStore = field(default_factory=MemoryStore, compare=False, repr=False)
    key: str = ""


class ClaimSource(Protocol):
    """Where claims come from: an Airflow, a Prefect server, the file of a command."""

    def claims(self) -> Iterable[Claim]:
        """Everything that is claimed there now."""


def is_over(record: JobRecord) -> bool:
    """Whether there is nothing to end for a record. What bills until it is stopped is over only when it was stopped."""
    if record.phase is Phase.PREPARING or record.job_state is JobState.CANCELLED:
        return True
    return record.job_state in kind_named(record.kind).over


def is_lost(record: JobRecord) -> bool:
    """Whether a job may run for this record that nobody can find: its creation's answer never came."""
    kind = kind_named(record.kind)
    return record.id is None and record.phase is Phase.INTENT and not kind.repeatable and not can_find(kind, record)
