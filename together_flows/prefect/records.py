"""Job records on a flow run's labels, where every process that has to do with the run can read them.

The invariants:

- A record is on the server before the step that it announces: `save` returns only when it has read back what it wrote.
  The server merges labels by reading and writing all of them, so two processes that save at once can undo each other.
- A label belongs to one task run. A retry of the task finds it by its key. When a flow run is tried again its task runs
  have new ids: they take over what the attempt before left, each record at most once, so that two tasks with the same
  inputs keep two jobs.
- A record is also taken over within an attempt when the task that owned it has failed, so that a healthy job is not
  thrown away.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from together_flows.errors import TogetherError
from together_flows.jobs import JobRecord, JobReference, JobState, JobStore, MemoryStore, Phase, TaskOutcome, kind_named
from together_flows.prefect.identity import Owner

__all__ = ["FlowRunStore", "Label", "is_over", "key_of", "labels_by_job", "labels_in", "labels_of", "store_of"]

#: What the names of our labels begin with.
PREFIX = "together.job."
_TRIES = 5
_BUSY = 503
#: Seconds between quick tries to write labels.
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4)
#: Hex digits of a fingerprint in a key: 64 bits.
_DIGITS = 16

#: Labels are merged by reading and writing all of them. One writer at a time in each process.
_writing = threading.Lock()
#: How often a flow's own body has asked for the same, by run, attempt and key.
_calls_in_bodies: dict[tuple[UUID | None, int, str], int] = {}
#: Where records are kept outside a flow run. They do not outlive the process.
_without_flow_run = MemoryStore()


@dataclass(frozen=True)
class Label:
    """A job record as a label holds it.

    Attributes:
        key: the label's name without the prefix.
        record: the job record.
        credentials: name of the credentials block of the job's account; empty if it is not saved.
        attempt: attempt of the flow run that wrote it.
        taken: whether a later task run has taken the record over.
    """

    key: str
    record: JobRecord
    credentials: str = ""
    attempt: int = 1
    taken: bool = False

    def dump(self) -> dict[str, str]:
        """As a label's name and value."""
        data = {"credentials": self.credentials, "attempt": self.attempt, "taken": self.taken}
        text = json.dumps({**self.record.to_dict(), **{k: v for k, v in data.items() if v}}, separators=(",", ":"))
        return {PREFIX + self.key: text}

    @classmethod
    def parse(cls, key: str, text: str) -> Label:
        """Read what `dump` wrote."""
        data = json.loads(text)
        return cls(
            key=key,
            record=JobRecord.from_dict(data),
            credentials=str(data.get("credentials", "")),
            attempt=int(data.get("attempt", 1)),
            taken=bool(data.get("taken", False)),
        )

    def is_open_to(self, owner: Owner) -> bool:
        """Whether a task run of that owner may take the record over."""
        return not self.taken and (self.attempt < owner.attempt or self.record.outcome is TaskOutcome.FAILED)


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


def labels_in(raw: Mapping[str, Any]) -> list[Label]:
    """Our labels among those of a flow run, oldest job first."""
    found = [Label.parse(name.removeprefix(PREFIX), str(text)) for name, text in raw.items() if name.startswith(PREFIX)]
    return sorted(found, key=lambda label: label.record.intent_at)


def labels_of(flow_run_id: UUID) -> list[Label]:
    """Our labels of a flow run, read from the server right now."""
    with get_client(sync_client=True) as client:
        return labels_in(client.read_flow_run(flow_run_id).labels)


def labels_by_job(flow_run_id: UUID | None) -> dict[JobReference, Label]:
    """The labels of the jobs that this flow run has submitted; outside a flow run, those of this process."""
    if flow_run_id is None:
        labels = [Label(key, record) for key, record in _without_flow_run.records.items()]
    else:
        labels = labels_of(flow_run_id)
    return {label.record.reference: label for label in labels if label.record.id and not label.taken}


@dataclass
class FlowRunStore:
    """Keeps job records on the labels of a flow run.

    Attributes:
        owner: who asks.
        credentials: name of the credentials block that its jobs belong to.
    """

    owner: Owner
    credentials: str
    _attempts: dict[str, int] = field(default_factory=dict)

    def load(self, key: str) -> JobRecord | None:
        """The record kept under a key, or one of the same inputs that the attempt before left, or `None`."""
        with _writing:
            labels = labels_of(self._run)
            for label in labels:
                if label.key == key and not label.taken:
                    return label.record
            inputs = key.rpartition(".")[2]
            for label in labels:
                if label.key.rpartition(".")[2] == inputs and label.is_open_to(self.owner):
                    self._write(self._label(key, label.record), replace(label, taken=True))
                    return label.record
        return None

    def save(self, key: str, record: JobRecord) -> None:
        """Keep a record, in place of the one before.

        Raises:
            TogetherError: the server did not keep it.
        """
        with _writing:
            self._write(self._label(key, record))

    @property
    def _run(self) -> UUID:
        assert self.owner.flow_run_id is not None
        return self.owner.flow_run_id

    def _label(self, key: str, record: JobRecord) -> Label:
        return Label(key, record, self.credentials, self.owner.attempt)

    def _write(self, *labels: Label) -> None:
        wanted = {name: text for label in labels for name, text in label.dump().items()}
        with get_client(sync_client=True) as client:
            for _ in range(_TRIES):
                _update(client, self._run, wanted)
                kept = client.read_flow_run(self._run).labels
                if all(kept.get(name) == text for name, text in wanted.items()):
                    return
        raise TogetherError(
            f"The Prefect server did not keep a job record on flow run {self._run}.",
            mend="Nothing was submitted without a record; a retry of the task goes on from the last one.",
            retryable=True,
        )


def _update(client: SyncPrefectClient, flow_run_id: UUID, labels: Mapping[str, str]) -> None:
    """Merge labels into those of a flow run.

    A server on SQLite answers 503 when another write came in between, and Prefect's client then waits for 2 seconds.
    Such a conflict is over in milliseconds, so it is tried again at once before it is left to that patience.
    """
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        for pause in _PAUSES:
            try:
                client.update_flow_run_labels(flow_run_id, dict(labels))
            except PrefectHTTPStatusError as refusal:
                if refusal.response.status_code != _BUSY:
                    raise
                time.sleep(pause)
            else:
                return
    client.update_flow_run_labels(flow_run_id, dict(labels))


def store_of(owner: Owner, credentials: str) -> JobStore:
    """The store for the jobs of an owner."""
    return _without_flow_run if owner.flow_run_id is None else FlowRunStore(owner, credentials)


def is_over(record: JobRecord) -> bool:
    """Whether there is nothing to end for a record. What bills until it is stopped is over only when it was stopped."""
    if record.phase is Phase.PREPARING or record.job_state is JobState.CANCELLED:
        return True
    return record.job_state in kind_named(record.kind).over
