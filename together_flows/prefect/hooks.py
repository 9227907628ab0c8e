"""Hooks of a flow that end its remote jobs, from whichever process they are called in.

The process that submitted a job may be gone, so a hook knows nothing but the flow run's id: it reads the run's job
records from the server. The names of the parameters are a contract, because the runner passes them by keyword.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypedDict, TypeVar, cast, overload

from prefect import Flow, flow
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from together_flows.jobs import JobStatus, kind_named, run
from together_flows.jobs.at_once import each_at_once
from together_flows.jobs.steps import Logger
from together_flows.jobs.submission import abandonment
from together_flows.prefect.credentials import credentials_of
from together_flows.prefect.interruption import was_evicted
from together_flows.prefect.kept import KeptRecord, kept_by
from together_flows.prefect.records import KnownRecords, is_over
from together_flows.prefect.related_runs import with_subflows

__all__ = ["JobHooks", "end_billing_jobs", "end_jobs", "end_kept_job", "job_hooks", "together_flow"]

Hook = Callable[[Flow[..., Any], FlowRun, State[Any]], None]


class JobHooks(TypedDict):
    """Keyword arguments of `@flow`."""

    on_cancellation: list[Hook]
    on_crashed: list[Hook]
    on_failure: list[Hook]


def end_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """End all remote jobs that a flow run and its subflows have submitted: for `on_cancellation`.

    A runner that is told to stop cancels its runs, too. Nobody has asked for that, so it is treated as a crash.
    """
    if was_evicted(state):
        end_billing_jobs(flow, flow_run, state)
    else:
        _end(flow, flow_run, lambda kept: True)


def end_billing_jobs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """End what bills until it is stopped, such as a dedicated endpoint: for `on_crashed` and `on_failure`.

    Work that ends by itself is left, and a re-run of the flow run adopts it.
    """
    _end(flow, flow_run, lambda kept: kind_named(kept.record.kind).bills_until_stopped)


def _end(flow: Flow[..., Any], flow_run: FlowRun, chosen: Callable[[KeptRecord], bool]) -> None:
    logger = flow_run_logger(flow_run, flow)

    def log(message: str, level: str) -> None:
        getattr(logger, level, logger.info)(message)

    def end(kept: KeptRecord) -> None:
        try:
            end_kept_job(kept, log)
        except Exception as error:  # one job that cannot be ended must not keep the others running
            log(f"{kept.record.kind}:{kept.record.id} could not be ended: {error}", "error")

    runs = with_subflows(flow_run.id)  # nobody calls the hooks of a subflow whose process was killed
    alive = [kept for kept in kept_by(*runs) if not kept.taken and not is_over(kept.record)]
    for kept in alive:
        if not chosen(kept):
            log(f"{kept.record.kind}:{kept.record.id} is left running; a re-run of the run adopts it.", "warning")
    each_at_once(filter(chosen, alive), end)


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
def together_flow(**options: Any) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
def together_flow(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Like Prefect's `@flow`, with the hooks that end the flow's remote jobs; hooks of your own are called after them.

    Example:
        ```python
        @together_flow(name="nightly", retries=1)
        async def nightly() -> None: ...
        ```
    """
    ours: dict[str, Any] = dict(job_hooks)
    hooks = {name: [*hooks, *(options.pop(name, None) or ())] for name, hooks in ours.items()}
    decorate = cast(Any, flow)(**options, **hooks)
    return decorate if function is None else decorate(function)
