"""Job records as artifacts of a flow run, where every process that has to do with the run can read them.

The invariants:

- A record is on the server before the step that it announces.
- A record belongs to one task run. A retry of the task finds it by its key. When a flow run is tried again its task
  runs have new ids: they take over what the attempt before left, each record at most once, so that two tasks with the
  same inputs keep two jobs. Taking one over is a single write, which gives the record its new key.
- A record is also taken over within an attempt when the task that owned it has failed, and from a failed run of the
  same subflow, so that a healthy job is not thrown away.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from together_flows.jobs import JobRecord, JobReference, JobStore, MemoryStore
from together_flows.jobs.claim import is_over
from together_flows.prefect.identity import Owner
from together_flows.prefect.kept import KeptRecord, create, kept_as, kept_by, update
from together_flows.prefect.related_runs import failed_forerunners

__all__ = ["FlowRunStore", "KnownRecords", "is_over", "kept_by_job", "key_of", "store_of", "store_with"]

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


def kept_by_job(flow_run_id: UUID | None) -> dict[JobReference, KeptRecord]:
    """The records of the jobs that this flow run has submitted; outside a flow run, those of this process."""
    if flow_run_id is None:
        records = [KeptRecord(key, record) for key, record in _without_flow_run.records.items()]
    else:
        records = kept_by(flow_run_id)
    return {kept.record.reference: kept for kept in records if kept.record.id and not kept.taken}


@dataclass(frozen=True)
class FlowRunStore:
    """Keeps the records of the jobs that a task run submits.

    Attributes:
        owner: who asks.
        credentials: name of the credentials block that its jobs belong to.
    """

    owner: Owner
    credentials: str
    _artifacts: dict[str, UUID | None] = field(default_factory=dict)

    def load(self, key: str) -> JobRecord | None:
        """The record kept under a key, or one of the same inputs that the attempt before left, or `None`."""
        records = kept_by(self._run)
        kept = _under(key, records)
        if kept is None and _open_to(self.owner, records, key):
            kept = self._take_over(key)
        kept = kept or self._take_from_forerunners(key)
        self._artifacts[key] = kept.artifact_id if kept else None
        return kept.record if kept else None

    def save(self, key: str, record: JobRecord) -> None:
        """Keep a record, in place of the one before."""
        if key not in self._artifacts:
            before = _under(key, kept_by(self._run))
            self._artifacts[key] = before.artifact_id if before else None
        self._artifacts[key] = self._write(key, record, self._artifacts[key]).artifact_id

    def _take_over(self, key: str) -> KeptRecord | None:
        with _taking_over:
            left = _open_to(self.owner, kept_by(self._run), key)  # afresh: another task may have been faster
            return self._write(key, left.record, left.artifact_id) if left else None

    def _take_from_forerunners(self, key: str) -> KeptRecord | None:
        if not (forerunners := failed_forerunners(self._run)):
            return None
        with _taking_over:
            for left in kept_by(*forerunners):
                if _inputs(left.key) == _inputs(key) and not left.taken:
                    kept = self._write(key, left.record)
                    update(replace(left, taken=True))
                    return kept
        return None

    def _write(self, key: str, record: JobRecord, artifact_id: UUID | None = None) -> KeptRecord:
        kept = KeptRecord(
            key=key,
            record=record,
            credentials=self.credentials,
            attempt=self.owner.attempt,
            flow_run_id=self._run,
            artifact_id=artifact_id,
        )
        return update(kept) if artifact_id else create(kept)

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

    known: Mapping[str, KeptRecord]
    attempt: int | None = None

    @classmethod
    def of(cls, *records: KeptRecord, attempt: int | None = None) -> KnownRecords:
        """A store of these records."""
        return cls({kept.key: kept for kept in records}, attempt)

    def load(self, key: str) -> JobRecord | None:
        """The record as it is on the server now; `None` when somebody has taken it over."""
        kept = _under(key, kept_as(self.known[key]))
        return kept.record if kept else None

    def save(self, key: str, record: JobRecord) -> None:
        """Keep a record, in place of the one before."""
        kept = self.known[key]
        update(replace(kept, record=record, attempt=self.attempt or kept.attempt))


def _under(key: str, records: Iterable[KeptRecord]) -> KeptRecord | None:
    return next((kept for kept in records if kept.key == key and not kept.taken), None)


def _open_to(owner: Owner, records: Iterable[KeptRecord], key: str) -> KeptRecord | None:
    """A record of the same inputs that its task run has left behind."""
    return next((kept for kept in records if _inputs(kept.key) == _inputs(key) and kept.is_open_to(owner)), None)


def _inputs(key: str) -> str:
    """The part of a key that tells what is wanted, and not by whom."""
    return key.rpartition(".")[2]


def store_of(owner: Owner, credentials: str) -> JobStore:
    """The store for the jobs that an owner submits."""
    return _without_flow_run if owner.flow_run_id is None else FlowRunStore(owner, credentials)


def store_with(records: Collection[KeptRecord], owner: Owner) -> JobStore:
    """The store of records that this owner has found by `kept_by_job`."""
    return _without_flow_run if owner.flow_run_id is None else KnownRecords.of(*records, attempt=owner.attempt)
