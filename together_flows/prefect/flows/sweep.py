"""Finds remote jobs of flow runs that are over, or whose process is gone, and ends those that nobody can want.

Hooks run only where a runner lives to call them. When the runner itself dies, its runs stay behind, in whatever state
they were, and so do their jobs. This flow is the last of the three layers that end a job: schedule it, or run it once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterStartTime
from prefect.client.schemas.objects import FlowRun, StateType

from together_flows.errors import TogetherError
from together_flows.jobs import JobState, JobStatus, kind_named, run
from together_flows.jobs.ending import look
from together_flows.prefect.credentials import credentials_of
from together_flows.prefect.hooks import end_labelled_job
from together_flows.prefect.labels import Label, labels_in
from together_flows.prefect.records import is_over
from together_flows.prefect.view import run_logger, show_table

__all__ = ["Verdict", "sweep", "verdict"]

Verdict = Literal["end", "leave", "keep"]
_PAGE = 200
_GONE = JobState.CANCELLED


@flow(name="together-sweep")
def sweep(
    *,
    dry_run: bool = True,
    days: float = 7.0,
    dead_after_hours: float | None = None,
    cancelling_for_minutes: float = 10.0,
) -> list[dict[str, Any]]:
    """List the remote jobs that run although their flow run does not, and end those that nobody can want.

    What a cancelled run has left is ended. Of a failed or crashed run, what bills until it is stopped is ended; work
    that ends by itself is left, because a re-run adopts it. Of a completed run nothing is ended: it may have deployed
    an endpoint on purpose.

    Args:
        dry_run: only list them.
        days: look at flow runs that started in the last so many days.
        dead_after_hours: take a run that is "running" for longer than this for dead, and treat it as crashed. Left out,
            running runs are not looked at: whether their process lives cannot be seen from here.
        cancelling_for_minutes: take a run that is "cancelling" for longer than this for cancelled.

    Returns:
        One row for each job that still runs: `flow_run`, `run_state`, `reference`, `job_state`, `verdict` (`"end"`,
        `"leave"` or `"keep"`) and `ended`.
    """
    now, log = datetime.now(UTC), run_logger()
    limits = _Limits(
        now, timedelta(hours=dead_after_hours) if dead_after_hours else None, timedelta(minutes=cancelling_for_minutes)
    )
    rows = []
    for flow_run in _runs_since(now - timedelta(days=days)):
        state = limits.effective_state(flow_run)
        if state is None:
            continue
        for label in labels_in(flow_run.labels):
            row = _judged(flow_run, label, verdict(label, state), dry_run)
            if row:
                rows.append(row)
                log(f"{row['reference']} of run {flow_run.name}: {row['verdict']}", "info")
    if rows:
        show_table("together-sweep", rows, "Remote jobs of flow runs that do not run any more")
    return rows


@dataclass(frozen=True)
class _Limits:
    now: datetime
    dead_after: timedelta | None
    cancelling_for: timedelta

    def effective_state(self, flow_run: FlowRun) -> StateType | None:
        """The state in which a run has ended, or is taken to have ended; `None` while it may be alive."""
        state = flow_run.state
        if state is None or state.is_final():
            return state.type if state else None
        age = self.now - state.timestamp
        if state.type is StateType.CANCELLING and age > self.cancelling_for:
            return StateType.CANCELLED
        if state.type is StateType.RUNNING and self.dead_after is not None and age > self.dead_after:
            return StateType.CRASHED
        return None


def verdict(label: Label, state: StateType) -> Verdict:
    """What should become of a job that runs on after its flow run has ended so."""
    if state is StateType.CANCELLED:
        return "end"
    if not kind_named(label.record.kind).bills_until_stopped:
        return "leave"
    return "keep" if state is StateType.COMPLETED else "end"


def _judged(flow_run: FlowRun, label: Label, wanted: Verdict, dry_run: bool) -> dict[str, Any] | None:
    """The row of a job that still runs; `None` if it does not."""
    if label.taken or is_over(label.record) or kind_named(label.record.kind).end is None:
        return None
    row = {
        "flow_run": str(flow_run.id),
        "run_state": flow_run.state_name or "",
        "reference": f"{label.record.kind}:{label.record.id or 'unknown'}",
        "job_state": "unknown",
        "verdict": wanted,
        "ended": "",
    }
    try:
        status = _status(label)
        if status is not None and not _runs(status):
            return None
        row["job_state"] = status.raw if status else "unknown"
        if wanted == "end" and not dry_run:
            last = end_labelled_job(flow_run.id, label, run_logger())
            row["ended"] = last.raw if last else "not found"
    except TogetherError as error:
        row["ended"] = f"failed: {error}"
    return row


def _status(label: Label) -> JobStatus | None:
    if label.record.id is None:
        return None
    with credentials_of(label.credentials).get_client() as client:
        status = run(look(kind_named(label.record.kind), label.record.id), client=client)
    return status or JobStatus(label.record.reference, _GONE, raw="gone")


def _runs(status: JobStatus) -> bool:
    return status.state is not _GONE and status.state not in kind_named(status.reference.kind).over


def _runs_since(begin: datetime) -> Iterator[FlowRun]:
    """Flow runs that carry our labels."""
    chosen = FlowRunFilter(start_time=FlowRunFilterStartTime(after_=begin))
    with get_client(sync_client=True) as client:
        offset = 0
        while page := client.read_flow_runs(flow_run_filter=chosen, limit=_PAGE, offset=offset):
            offset += len(page)
            yield from (flow_run for flow_run in page if labels_in(flow_run.labels))
