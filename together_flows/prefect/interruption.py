"""What becomes of a job when the task that wants it is interrupted: by a person, or by a machine.

A cancelled flow run is not wanted any more, so its jobs end. Anything else that stops a process, such as an eviction or
a deploy, leaves the run wanted: work that ends by itself goes on, and a re-run of the flow run adopts it. What bills
until it is stopped is ended, because Prefect does not retry a run that has crashed.
"""

from __future__ import annotations

from uuid import UUID

import anyio
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType

from together_flows.jobs import JobRecord, JobStore, kind_named
from together_flows.jobs.steps import Log, Steps, arun, run
from together_flows.jobs.submission import abandonment
from together_flows.prefect.credentials import TogetherCredentials
from together_flows.prefect.records import is_over
from together_flows.prefect.view import run_logger

__all__ = ["ais_wanted", "asettle", "is_wanted", "settle", "settlement"]

#: Seconds for looking for a job whose creation was cut through. Prefect kills a cancelled process after 30.
_SETTLE = 8.0
_PATIENCE = 10.0
#: Seconds after which the hooks are left to finish the work.
_LONGEST = 25.0

_UNWANTED = (StateType.CANCELLING, StateType.CANCELLED)


def settlement(record: JobRecord, *, wanted: bool | None) -> Steps[None]:
    """Steps that end a job, or leave it, after its task was interrupted.

    Args:
        record: the job's record.
        wanted: whether the flow run is still wanted; `None` if that could not be learned.
    """
    kind = kind_named(record.kind)
    if is_over(record):
        return
    if wanted is False or kind.bills_until_stopped:
        yield from abandonment(kind, record, settle=_SETTLE, patience=_PATIENCE)
    elif record.id is not None:
        yield Log(f"{record.reference} is left running; a re-run of this flow run adopts it.", "warning")


def settle(credentials: TogetherCredentials, store: JobStore, key: str, flow_run_id: UUID | None) -> None:
    """End or leave the job of a task that was just interrupted. An error here is logged: the hooks try again."""
    log = run_logger()
    try:
        record = store.load(key)
        if record is None:
            return
        with credentials.get_client() as client:
            run(settlement(record, wanted=is_wanted(flow_run_id)), client=client, store=store, key=key, log=log)
    except Exception as error:  # the interruption is what the caller must hear of
        log(f"The job of this task could not be ended here; the flow's hooks try again. {error}", "error")


async def asettle(credentials: TogetherCredentials, store: JobStore, key: str, flow_run_id: UUID | None) -> None:
    """The same as `settle`, on the event loop, shielded from being cancelled again."""
    log = run_logger()
    with anyio.move_on_after(_LONGEST, shield=True):
        try:
            record = await anyio.to_thread.run_sync(store.load, key)
            if record is None:
                return
            wanted = await ais_wanted(flow_run_id)
            async with credentials.get_async_client() as client:
                await arun(settlement(record, wanted=wanted), client=client, store=store, key=key, log=log)
        except Exception as error:  # the interruption is what the caller must hear of
            log(f"The job of this task could not be ended here; the flow's hooks try again. {error}", "error")


def is_wanted(flow_run_id: UUID | None) -> bool | None:
    """Whether nobody has cancelled the flow run, by what the server says now; `None` if it does not say.

    Outside a flow run an interruption is a person's, at the keyboard.
    """
    if flow_run_id is None:
        return False
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(flow_run_id).state
    except Exception:  # whatever the reason, it is not known
        return None
    return state is None or state.type not in _UNWANTED


async def ais_wanted(flow_run_id: UUID | None) -> bool | None:
    """The same as `is_wanted`, on the event loop."""
    return await anyio.to_thread.run_sync(is_wanted, flow_run_id)
