"""Claims on remote jobs by Airflow's tasks: what their state stores hold, and how the tasks stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from airflow_provider.attempt import key_of
from airflow_provider.rest_api import AirflowApi, NotInAirflow

if TYPE_CHECKING:
    from together_flows.jobs import JobRecord
    from together_flows.jobs.claim import Claim, Standing

__all__ = ["OPERATORS", "AirflowClaims", "is_final"]

#: SQL pattern of the names of operators that may own jobs.
OPERATORS = "%Together%"

Row: TypeAlias = Mapping[str, Any]

_FINAL = ("success", "failed", "skipped", "upstream_failed", "removed")
_NOT_FINAL = (
    "none",
    "scheduled",
    "queued",
    "running",
    "restarting",
    "up_for_retry",
    "up_for_reschedule",
    "deferred",
    "awaiting_input",
)
#: Names of operators that own no jobs, by how they end.
_WITHOUT_JOBS = ("Sensor", "TeardownOperator")


def is_final(state: str | None) -> bool:
    """
    Whether a task in this state will do nothing any more by itself. One that was cleared has no state.

    :param state: the task instance's state; an unknown one counts as not final.
    """
    return state in _FINAL


@dataclass(frozen=True, kw_only=True)
class AirflowClaims:
    """
    The claims of an Airflow's task instances, read through its REST API. A ``ClaimSource``.

    :param api: the API.
    :param days: look at tasks that have changed in the last so many days, and at all that have not ended.
    :param operators: SQL pattern of the names of operators that may own jobs.
    """

    api: AirflowApi
    days: float = 7.0
    operators: str = OPERATORS
    _downstream_of: dict[tuple[str, str], list[str]] = field(default_factory=dict, init=False, repr=False)

    def claims(self) -> Iterator[Claim]:
        """The jobs that tasks have submitted."""
        since = (datetime.now(UTC) - timedelta(days=self.days)).isoformat()
        unfinished = self._instances("~", "~", state=list(_NOT_FINAL))
        recent = self._instances("~", "~", updated_at_gte=since)
        rows = {row["id"]: row for row in chain(unfinished, recent)}  # the later look at a task counts
        return self._claims_of(list(rows.values()))

    def _claims_of(self, rows: Iterable[Row]) -> Iterator[Claim]:
        """The claims of these task instances. Their runs' teardowns must be among them."""
        from together_flows.jobs.at_once import each_at_once

        runs: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            runs.setdefault((row["dag_id"], row["dag_run_id"]), []).append(row)
        owners = [row for of_run in runs.values() for row in of_run if _may_own_jobs(row)]
        for row, records in zip(owners, each_at_once(owners, self._records), strict=True):
            run = runs[row["dag_id"], row["dag_run_id"]]
            for key, record in records.items():
                yield self._claim(row, key, record, run)

    def _claim(self, row: Row, key: str, record: JobRecord, run: Iterable[Row]) -> Claim:
        from together_flows.jobs.claim import Claim

        standing, state = self._standing(row, record, run)
        return Claim(
            record=record,
            owner=_name(row),
            owner_state=state,
            standing=standing,
            renew=partial(self._renewed, row, key),
            key=key,
        )

    def _renewed(self, row: Row, key: str) -> Claim | None:
        try:
            run = list(self._instances(row["dag_id"], row["dag_run_id"]))
        except NotInAirflow:  # the run was deleted
            return None
        same = [now for now in run if (now["task_id"], now["map_index"]) == (row["task_id"], row["map_index"])]
        for now in same:
            record = self._records(now).get(key)
            if record is not None:
                return self._claim(now, key, record, run)
        return None

    def _instances(self, dag_id: str, run_id: str, **chosen: Any) -> Iterator[Row]:
        path = f"/dags/{quote(dag_id, safe='~')}/dagRuns/{quote(run_id, safe='~')}/taskInstances"
        return self.api.rows(path, "task_instances", {"operator_name_pattern": self.operators, **chosen})

    def _records(self, row: Row) -> dict[str, JobRecord]:
        """What a task instance has stored of its jobs, by key."""
        from together_flows.jobs import JobRecord

        place = (quote(str(row[name]), safe="") for name in ("dag_id", "dag_run_id", "task_id"))
        path = "/dags/{}/dagRuns/{}/taskInstances/{}/state-store".format(*place)
        records: dict[str, JobRecord] = {}
        offset, total = 0, 1
        while offset < total:
            answer = self.api.get(path, {"map_index": row["map_index"], "limit": 100, "offset": offset})
            entries = answer["task_state_store"]
            total = answer["total_entries"] if entries else 0
            offset += len(entries)
            for entry in entries:
                if _is_of_a_job(entry["key"]):
                    records[entry["key"]] = JobRecord.from_dict(entry["value"])
        return records

    def _standing(self, row: Row, record: JobRecord, run: Iterable[Row]) -> tuple[Standing, str]:
        """How a task stands towards its job, and the words for it."""
        from together_flows.jobs import TaskOutcome, kind_named
        from together_flows.jobs.claim import Standing

        state = row["state"]
        if not is_final(state):
            return Standing.ACTIVE, state or "cleared or to come"
        if kind_named(record.kind).bills_until_stopped:
            ids = self._downstream(row["dag_id"], row["task_id"])
            teardowns = [other for other in run if other["task_id"] in ids and _is_teardown(other)]
            if any(not is_final(other["state"]) for other in teardowns):
                return Standing.ACTIVE, f"{state}, its teardown is to come"
            if teardowns:
                ends = ", ".join(sorted({str(other["state"]) for other in teardowns}))
                return Standing.FAILED, f"{state}, its teardown: {ends}"
        if state == "success" or (state != "failed" and record.outcome is TaskOutcome.SUCCEEDED):
            return Standing.SUCCEEDED, state
        return Standing.FAILED, state

    def _downstream(self, dag_id: str, task_id: str) -> list[str]:
        """The tasks after a task, as its DAG is now; none if it is not there any more."""
        if (dag_id, task_id) not in self._downstream_of:
            path = f"/dags/{quote(dag_id, safe='')}/tasks/{quote(task_id, safe='')}"
            try:
                self._downstream_of[dag_id, task_id] = self.api.get(path).get("downstream_task_ids") or []
            except NotInAirflow:
                self._downstream_of[dag_id, task_id] = []
        return self._downstream_of[dag_id, task_id]


def _is_of_a_job(key: str) -> bool:
    return key == key_of(0) or key.startswith(f"{key_of(0)}_")


def _is_teardown(row: Row) -> bool:
    return str(row["operator_name"]).endswith("TeardownOperator")


def _may_own_jobs(row: Row) -> bool:
    """Whether a task has begun, and is of a sort that submits."""
    return bool(row["try_number"]) and not str(row["operator_name"]).endswith(_WITHOUT_JOBS)


def _name(row: Row) -> str:
    mapped = f"[{row['map_index']}]" if row["map_index"] >= 0 else ""
    return f"{row['dag_id']} / {row['dag_run_id']} / {row['task_id']}{mapped}, try {row['try_number']}"
