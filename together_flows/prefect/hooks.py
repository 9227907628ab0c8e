"""Hooks of a flow that end its remote jobs, from whichever process they are called in.

The process that submitted a job may be gone, so a hook knows nothing but the flow run's id: it reads the run's job
records from the server. The names of the parameters are a contract, because the runner passes them by keyword.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import Any, ParamSpec, TypedDict, TypeVar, cast, get_args, overload
from uuid import UUID

from prefect import Flow, flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from together_flows.errors import ArgumentInvalid
from together_flows.jobs import JobStatus, kind_named, run
from together_flows.jobs.at_once import each_at_once
from together_flows.jobs.steps import Logger
from together_flows.jobs.submission import abandonment
from together_flows.policies import OnKill
from together_flows.prefect.credentials import credentials_of
from together_flows.prefect.interruption import was_evicted
from together_flows.prefect.kept import KeptRecord, kept_by
from together_flows.prefect.records import KnownRecords, is_over, task_run_of
from together_flows.prefect.related_runs import with_subflows

__all__ = ["JobHooks", "end_billing_jobs", "end_jobs", "end_kept_job", "job_hooks", "together_flow"]

#: Seconds within which the server is told how a run's tasks have ended.
_TOLD_WITHIN = 5.0

Hook = Callable[[Flow[..., Any], FlowRun, State[Any]], None]


class JobHooks(TypedDict):
    """Keyword arguments of `@flow`."""

    on_cancellation: list[Hook]
    on_crashed: list[Hook]
    on_failure: list[Hook]


def end_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """End all remote jobs that a flow run and its subflows have submitted: for `on_cancellation`.

    Where the outermost flow says `on_kill="leave"`, work that ends by itself is left. A runner that is told to stop
    cancels its runs, too. Nobody has asked for that, so it is treated as a crash.
    """
    if was_evicted(state):
        end_billing_jobs(flow, flow_run, state)
    else:
        _end(flow, flow_run, lambda kept: not kept.leaves)


def end_billing_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """End what bills until it is stopped, such as a dedicated endpoint: for `on_crashed` and `on_failure`.

    Work that ends by itself is left, and a re-run of the flow run adopts it; unless the time of the flow, or of the
    task that has submitted it, was up.
    """
    late, until = _was_late(state), monotonic() + _TOLD_WITHIN
    _end(flow, flow_run, lambda kept: late or (state.is_failed() and _was_late(_end_of_task(kept, until))))


def _was_late(state: State[Any] | None) -> bool:
    """Whether a run ended because its own time was up. Prefect calls it so after any `TimeoutError`, too."""
    return state is not None and state.name == "TimedOut" and " run exceeded timeout " in (state.message or "")


def _end_of_task(kept: KeptRecord, until: float) -> State[Any] | None:
    """How the task run that wanted a job has ended; `None` if it has not, or cannot be learned.

    Prefect tells its server of the end of a task in the background, so that the answer may take until then.
    """
    try:
        task_run_id = UUID(task_run_of(kept.key))
    except ValueError:  # the flow itself wanted it
        return None
    with get_client(sync_client=True) as client:
        while True:
            state = _state_of_task(client, task_run_id)
            if state is not None and state.is_final():
                return state
            if monotonic() >= until:
                return None
            sleep(0.2)


def _state_of_task(client: SyncPrefectClient, task_run_id: UUID) -> State[Any] | None:
    try:
        return client.read_task_run(task_run_id).state
    except Exception:  # the server has not heard of the task yet, or cannot answer: what is not known is left
        return None


def _end(flow: Flow[..., Any], flow_run: FlowRun, ends_work: Callable[[KeptRecord], bool]) -> None:
    """End what bills until it is stopped, and of the rest what is chosen."""
    logger = flow_run_logger(flow_run, flow)

    def log(message: str, level: str) -> None:
        getattr(logger, level, logger.info)(message)

    def end_or_leave(kept: KeptRecord) -> None:
        try:
            if _bills(kept) or ends_work(kept):
                end_kept_job(kept, log)
            else:
                log(f"{kept.record.kind}:{kept.record.id} is left running; a re-run of the run adopts it.", "warning")
        except Exception as error:  # one job that cannot be ended must not keep the others running
            log(f"{kept.record.kind}:{kept.record.id} could not be ended: {error}", "error")

    runs = with_subflows(flow_run.id)  # nobody calls the hooks of a subflow whose process was killed
    alive = [kept for kept in kept_by(*runs) if not kept.taken and not is_over(kept.record)]
    each_at_once(sorted(alive, key=_bills, reverse=True), end_or_leave)


def _bills(kept: KeptRecord) -> bool:
    return kind_named(kept.record.kind).bills_until_stopped


def end_kept_job(kept: KeptRecord, log: Logger) -> JobStatus | None:
    """End the job of a record, and say so in the record; unless a task of a re-run has taken it over meanwhile."""
    account, store = credentials_of(kept.credentials), KnownRecords.of(kept)
    if store.load(kept.key) is None:
        log(f"{kept.record.kind}:{kept.record.id} is left alone: a re-run wants it again.", "info")
        return None
    with account.get_client() as client:
        steps = abandonment(kind_named(kept.record.kind), kept.record)
        return run(steps, client=client, store=store, key=kept.key, log=log)


#: For `@flow(**job_hooks)`.
job_hooks: JobHooks = {
    "on_cancellation": [end_jobs],
    "on_crashed": [end_billing_jobs],
    "on_failure": [end_billing_jobs],
}

P = ParamSpec("P")
R = TypeVar("R")


@overload
def together_flow(function: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def together_flow(*, on_kill: OnKill = "end", **options: Any) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
def together_flow(function: Callable[..., Any] | None = None, /, *, on_kill: OnKill = "end", **options: Any) -> Any:
    """Like Prefect's `@flow`, with the hooks that end the flow's remote jobs; hooks of your own are called after them.

    Args:
        function: the flow's function.
        on_kill: what it means for the flow's jobs that a person cancels a run of it or marks it failed: `"end"` to end
            them, `"leave"` to let those go on that end by themselves, so that the same run, run again, adopts them.
            What bills until it is stopped is ended in any case. It counts for the flow's subflows as well, and theirs
            counts only where they are run by themselves.
        options: of `@flow`.

    Raises:
        ArgumentInvalid: `on_kill` is neither.

    Example:
        ```python
        @together_flow(name="nightly", retries=1)
        async def nightly() -> None: ...
        ```
    """
    if on_kill not in get_args(OnKill):
        raise ArgumentInvalid(f"on_kill is {on_kill!r}.", mend="Say 'end' or 'leave'.")
    ours: dict[str, Any] = dict(job_hooks)
    if on_kill == "leave":
        ours["on_cancellation"] = job_hooks["on_crashed"]
    hooks = {name: [*hooks, *(options.pop(name, None) or ())] for name, hooks in ours.items()}
    decorate = cast(Any, flow)(**options, **hooks)
    return decorate if function is None else decorate(function)
