"""Job records as artifacts of a flow run, where every process that has to do with the run can read them.

The invariants:

- A record is on the server before the step that it announces.
- A record belongs to one task run. A retry of the task finds it by its key. When a flow run is tried again its task
  runs have new ids: they take over what the attempt before left, each record at most once, so that two tasks with the
  same inputs keep two jobs. Who takes one over writes it down anew, and looks whether it was the first to do so.
- A record is also taken over within an attempt when the task that owned it has failed, and from a failed run of the
  same subflow, so that a healthy job is not thrown away.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from prefect.client.schemas.objects import StateType

from together_flows.jobs import JobRecord, JobReference, JobStore, MemoryStore
from together_flows.jobs.claim import is_over
from together_flows.prefect.identity import Owner
from together_flows.prefect.kept import KeptRecord, delete, kept_as, kept_by, latest_by_marker, write
from together_flows.prefect.related_runs import forerunners

__all__ = [
    "FlowRunStore",
    "KnownRecords",
    "is_over",
    "kept_by_job",
    "key_of",
    "look_up",
    "store_of",
    "store_with",
    "task_run_of",
]

#: Hex digits of a fingerprint in a key: 64 bits.
_DIGITS = 16

#: One at a time in each process looks for a record that it may take over, and takes it.
_taking_over = threading.Lock()
_counting = threading.Lock()
#: How often a flow's own body has asked for the same, by run, attempt and key.
_calls_in_bodies: dict[tuple[UUID | None, int, str], int] = {}
#: Where records are kept outside a flow run. They do not outlive the process.
_without_flow_run = MemoryStore()


def key_of(owner: Owner, fingerprint: str) -> str:
    """Where the record of an intention is kept.

    The same task run with the same inputs means the same job. A flow's own body has no task run to tell its calls
    apart; there the second call with the same inputs is a second intention. Call this once for each.
    """
    key = f"{owner.task_run}.{fingerprint[:_DIGITS]}"
    if not owner.is_a_flows_body:
        return key
    calls = (owner.flow_run_id, owner.attempt, key)
    with _counting:
        number = _calls_in_bodies[calls] = _calls_in_bodies.get(calls, -1) + 1
    return f"{owner.task_run}{number}.{fingerprint[:_DIGITS]}"


def task_run_of(key: str) -> str:
    """The part of a key that tells by whom it is wanted: a task run's id in hexadecimal, or `flow` and a number."""
    return key.partition(".")[0]


def kept_by_job(flow_run_id: UUID | None) -> dict[JobReference, KeptRecord]:
    """The records of the jobs that this flow run has submitted; outside a flow run, those of this process."""
    if flow_run_id is None:
        records = [KeptRecord(key, record) for key, record in _without_flow_run.records.items()]
    else:
        records = kept_by(flow_run_id)
    return {kept.record.reference: kept for kept in records if kept.record.id and not kept.taken}


@dataclass
class FlowRunStore:
    """Keeps the records of the jobs that a task run submits.

    Attributes:
        owner: who asks.
        credentials: name of the credentials block that its jobs belong to.
    """

    owner: Owner
    credentials: str
    _kept: dict[str, KeptRecord | None] = field(default_factory=dict, repr=False)
    _highest: int = 0

    def load(self, key: str) -> JobRecord | None:
        """The record kept under a key, or one of the same inputs that the attempt before left, or `None`."""
        records = kept_by(self._run)
        kept = self._found(key, records)
        if kept is None or kept.is_open_to(self.owner):
            self._kept[key] = kept = self._take_over(key) if self._left_behind(key, records) else None
        return kept.record if kept else None

    def look(self, key: str) -> JobRecord | None:
        """The record kept under a key, without taking one over."""
        kept = self._found(key, kept_by(self._run))
        return kept.record if kept else None

    def save(self, key: str, record: JobRecord) -> None:
        """Keep a record, in place of the one before."""
        if key not in self._kept:
            self._found(key, kept_by(self._run))
        self._kept[key] = self._write(key, self._kept[key] or KeptRecord(key, record, version=self._highest), record)

    def _found(self, key: str, records: Sequence[KeptRecord]) -> KeptRecord | None:
        self._highest = max((kept.version for kept in records), default=0)
        self._kept[key] = kept = _under(key, records)
        return kept

    def _take_over(self, key: str) -> KeptRecord | None:
        """Take over a record that was left behind, unless other tasks are faster, in this process or in another."""
        with _taking_over:
            while left := self._left_behind(key, kept_by(self._run)):
                copy = replace(left, artifact_id=None, version=left.version + 1)
                copy = self._write(key, copy, replace(left.record, outcome=None))
                write(replace(left, taken=True))
                counts = _under(key, kept_by(self._run))
                if counts and counts.artifact_id == copy.artifact_id:
                    return copy
                delete(copy)
        return None

    def _left_behind(self, key: str, records: Sequence[KeptRecord]) -> KeptRecord | None:
        """The latest record of the same inputs that its task run has left, in this flow run or in one before it.

        One of another block is of another account, unless it is the task's own and its block has got another name.
        """

        def is_alike(kept: KeptRecord) -> bool:
            return kept.key == key or (_inputs(kept.key) == _inputs(key) and kept.credentials == self.credentials)

        left = [kept for kept in records if is_alike(kept) and kept.is_open_to(self.owner)]
        if not left:
            own = {kept.record.marker for kept in records}
            runs = forerunners(self._run)
            cancelled = {run.id for run in runs if run.state_type is StateType.CANCELLED}
            before = [
                kept
                for kept in latest_by_marker(kept_by(*(run.id for run in runs)))
                if kept.leaves or kept.flow_run_id not in cancelled  # otherwise its job was to end
            ]
            left = [kept for kept in before if is_alike(kept) and not kept.taken and kept.record.marker not in own]
        return max(left, key=lambda kept: (kept.key == key, kept.record.intent_at), default=None)

    def _write(self, key: str, kept: KeptRecord, record: JobRecord) -> KeptRecord:
        return write(
            replace(
                kept,
                key=key,
                record=record,
                credentials=self.credentials,
                attempt=self.owner.attempt,
                leaves=self.owner.leaves_work,
                flow_run_id=self._run,
            )
        )

    @property
    def _run(self) -> UUID:
        assert self.owner.flow_run_id is not None
        return self.owner.flow_run_id


@dataclass(frozen=True)
class KnownRecords:
    """Keeps records that have been read from the server already, and takes none over.

    Attributes:
        known: the records, by their keys.
        attempt: attempt of the flow run that writes them from now on; `None` for the one that did.
    """

    known: dict[str, KeptRecord]
    attempt: int | None = None

    @classmethod
    def of(cls, *records: KeptRecord, attempt: int | None = None) -> KnownRecords:
        """A store of these records."""
        return cls({kept.key: kept for kept in records}, attempt)

    def load(self, key: str) -> JobRecord | None:
        """The record as it is on the server now; `None` when somebody has taken it over."""
        kept = self._now(key)
        return kept.record if kept else None

    def save(self, key: str, record: JobRecord) -> None:
        """Keep a record, in place of the one before. One that somebody has taken over is left as it is."""
        if kept := self._now(key):
            self.known[key] = write(replace(kept, record=record, attempt=self.attempt or kept.attempt))

    def _now(self, key: str) -> KeptRecord | None:
        return _under(key, kept_as(self.known[key]))


def _under(key: str, records: Iterable[KeptRecord]) -> KeptRecord | None:
    return next((kept for kept in records if kept.key == key and not kept.taken), None)


def _inputs(key: str) -> str:
    """The part of a key that tells what is wanted, and not by whom."""
    return key.rpartition(".")[2]


def look_up(store: JobStore, key: str) -> JobRecord | None:
    """The record that a store keeps under a key. Asking does not take one over."""
    return store.look(key) if isinstance(store, FlowRunStore) else store.load(key)


def store_of(owner: Owner, credentials: str) -> JobStore:
    """The store for the jobs that an owner submits."""
    return _without_flow_run if owner.flow_run_id is None else FlowRunStore(owner, credentials)


def store_with(records: Collection[KeptRecord], owner: Owner) -> JobStore:
    """The store of records that this owner has found by `kept_by_job`."""
    return _without_flow_run if owner.flow_run_id is None else KnownRecords.of(*records, attempt=owner.attempt)
