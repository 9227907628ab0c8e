"""Job records in Airflow's task state store, which outlives retries and clears of the task."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs import JobRecord

__all__ = ["RECORDS", "TaskRecordStore"]

#: The XCom by which a teardown task learns what its setup task has begun.
RECORDS = "together_records"

_LOGGER = logging.getLogger(__name__)
_CLEARS = "together_clear_number"


class TaskRecordStore:
    """
    Keeps the job records of one task instance.

    The task state store belongs to a task of a DAG run (and its map index), not to an attempt, so a retry and a cleared
    task find the records of the attempt before. They never expire before the DAG run does: a record that vanished
    before its task was cleared would let the same job be paid for twice.

    :param context: the context of the running task.
    """

    def __init__(self, context: Context) -> None:
        self._store: Any = context.get("task_state_store")
        self._task: Any = context["ti"]
        self._seen: dict[str, JobRecord] = {}
        self._published: dict[str, dict[str, Any]] = {}
        if self._store is None:
            _LOGGER.warning(
                "This task has no task state store, so a retry cannot find its job again. "
                "Airflow 3.3 and newer give one to every task that a worker runs."
            )

    def load(self, key: str) -> JobRecord | None:
        """The record kept under a key, or ``None``."""
        from together_flows.jobs import JobRecord

        if key not in self._seen and (kept := self._get(key)) is not None:
            self._seen[key] = JobRecord.from_dict(kept)
        return self._seen.get(key)

    def save(self, key: str, record: JobRecord) -> None:
        """Keep a record, in place of the one before. Returns when Airflow's database has it."""
        from together_flows.jobs import Phase

        self._seen[key] = record  # first, so that this process still knows the job when the write fails
        self._set(key, record.to_dict())
        if record.phase in (Phase.INTENT, Phase.SUBMITTED):
            self.publish([record])

    def publish(self, records: Iterable[JobRecord]) -> None:
        """
        Tell the teardown what may bill until it is stopped, before it does: it may have no answer from this task.

        :param records: those that may have a job, or are about to. One that a failed attempt left as ended is among
            them, because this attempt may adopt its job.
        """
        from together_flows.jobs import Phase, kind_named

        told = False
        for record in records:
            if kind_named(record.kind).bills_until_stopped and record.phase is not Phase.PREPARING:
                self._published[record.marker] = record.to_dict()
                told = True
        if told:
            self._task.xcom_push(key=RECORDS, value=list(self._published.values()))

    def delete(self, key: str) -> None:
        """Forget a record."""
        self._seen.pop(key, None)
        if self._store is not None:
            self._store.delete(key)

    @property
    def clear_number(self) -> int | None:
        """How often tasks of the DAG run had been cleared when the jobs were submitted last."""
        number: int | None = self._get(_CLEARS)
        return number

    @clear_number.setter
    def clear_number(self, number: int) -> None:
        self._set(_CLEARS, number)

    def _get(self, key: str) -> Any:
        return None if self._store is None else self._store.get(key)

    def _set(self, key: str, value: Any) -> None:
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        if self._store is not None:
            self._store.set(key, value, retention=NEVER_EXPIRE)
