"""Job records on a flow run's labels, where every process that has to do with the run can read them.

The invariants:

- A record is on the server before the step that it announces: `save` returns only when it has read back what it wrote.
  The server merges labels by reading and writing all of them, so two processes that save at once can undo each other.
- A label belongs to one task run. A retry of the task finds it by its key. When a flow run is tried again its task runs
  have new ids: they take over what the attempt before left, each record at most once, so that two tasks with the same
  inputs keep two jobs.
- A record is also taken over within an attempt when the task that owned it has failed, and from a failed run of the
  same subflow, so that a healthy job is not thrown away.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from uuid import UUID

from together_flows.errors import TogetherError
from together_flows.jobs import JobRecord, JobReference, JobStore, MemoryStore
from together_flows.jobs.claim import is_over
from together_flows.prefect.identity import Owner
from together_flows.prefect.labels import Label, failed_forerunners, labels_of, write_labels

__all__ = ["FlowRunStore", "is_over", "key_of", "labels_by_job", "store_of"]

#: Hex digits of a fingerprint in a key: 64 bits.
_DIGITS = 16

#: Labels are merged by reading and writing all of them. One writer at a time in each process.
_writing = threading.Lock()
#: Labels that wait for their turn, each with what is told when it is written.
_queue: dict[UUID, list[tuple[Label, Future[None]]]] = {}
_queueing = threading.Lock()
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
    with _writing:
        number = _calls_in_bodies[calls] = _calls_in_bodies.get(calls, -1) + 1
    return f"{owner.task_run}{number}.{fingerprint[:_DIGITS]}"


def labels_by_job(flow_run_id: UUID | None) -> dict[JobReference, Label]:
    """The labels of the jobs that this flow run has submitted; outside a flow run, those of this process."""
    if flow_run_id is None:
        labels = [Label(key, record) for key, record in _without_flow_run.records.items()]
    else:
        labels = labels_of(flow_run_id)
    return {label.record.reference: label for label in labels if label.record.id and not label.taken}


@dataclass(frozen=True)
class FlowRunStore:
    """Keeps job records on the labels of a flow run.

    Attributes:
        owner: who asks.
        credentials: name of the credentials block that its jobs belong to.
    """

    owner: Owner
    credentials: str

    def load(self, key: str) -> JobRecord | None:
        """The record kept under a key, or one of the same inputs that the attempt before left, or `None`."""
        with _writing:
            labels = labels_of(self._run)
            for label in labels:
                if label.key == key and not label.taken:
                    return label.record
            left = _open_to(self.owner, labels, key)
            if left:
                write_labels(self._run, self._label(key, left.record), replace(left, taken=True))
                return left.record
            return self._take_from_forerunners(key)

    def _take_from_forerunners(self, key: str) -> JobRecord | None:
        for flow_run_id in failed_forerunners(self._run):
            for label in labels_of(flow_run_id):
                if _inputs(label.key) == _inputs(key) and not label.taken:
                    write_labels(self._run, self._label(key, label.record))
                    write_labels(flow_run_id, replace(label, taken=True))
                    return label.record
        return None

    def save(self, key: str, record: JobRecord) -> None:
        """Keep a record, in place of the one before.

        Raises:
            TogetherError: the server did not keep it.
        """
        _write_together(self._run, self._label(key, record))

    @property
    def _run(self) -> UUID:
        assert self.owner.flow_run_id is not None
        return self.owner.flow_run_id

    def _label(self, key: str, record: JobRecord) -> Label:
        return Label(key, record, self.credentials, self.owner.attempt)


def _write_together(flow_run_id: UUID, label: Label) -> None:
    """Write a label, along with those that other threads have for the same flow run by the time it is its turn."""
    written: Future[None] = Future()
    with _queueing:
        _queue.setdefault(flow_run_id, []).append((label, written))
    with _writing:
        with _queueing:
            waiting = _queue.pop(flow_run_id, [])  # empty where the thread before has written this one too
        if waiting:
            _write(flow_run_id, waiting)
    written.result()


def _write(flow_run_id: UUID, waiting: Sequence[tuple[Label, Future[None]]]) -> None:
    error: Exception | None = TogetherError("The process was stopped while it kept job records.", retryable=True)
    try:
        write_labels(flow_run_id, *(label for label, _ in waiting))
        error = None
    except Exception as failure:
        error = failure
    finally:
        for _, written in waiting:
            if error:
                written.set_exception(error)
            else:
                written.set_result(None)


def _open_to(owner: Owner, labels: Iterable[Label], key: str) -> Label | None:
    """A record of the same inputs that its task run has left behind."""
    return next((label for label in labels if _inputs(label.key) == _inputs(key) and label.is_open_to(owner)), None)


def _inputs(key: str) -> str:
    """The part of a key that tells what is wanted, and not by whom."""
    return key.rpartition(".")[2]


def store_of(owner: Owner, credentials: str) -> JobStore:
    """The store for the jobs of an owner."""
    return _without_flow_run if owner.flow_run_id is None else FlowRunStore(owner, credentials)
