"""What becomes of a job when the task that wants it is interrupted: by a person, or by a machine.

A flow run that a person has cancelled or marked failed is not wanted any more, and one whose time is up neither, so its
jobs end. Anything else that stops a process, such as an eviction or a deploy, leaves the run wanted: work that ends by
itself goes on, and a re-run of the flow run adopts it. So does the work of a flow that says `on_kill="leave"`. What
bills until it is stopped is ended, because Prefect retries no run that has crashed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType

from together_flows.jobs import JobRecord, JobReference, JobStore, Phase, kind_named
from together_flows.jobs.at_once import each_at_once
from together_flows.jobs.closing_words import last_words
from together_flows.jobs.steps import Load, Log, Steps, run
from together_flows.jobs.submission import abandonment
from together_flows.prefect.credentials import TogetherCredentials, credentials_of
from together_flows.prefect.identity import Owner, time_is_up
from together_flows.prefect.records import is_over, kept_by_job, look_up, store_with
from together_flows.prefect.threads import to_its_end
from together_flows.prefect.view import run_logger

__all__ = [
    "UNWANTED",
    "Kept",
    "asettle",
    "is_wanted",
    "kept_for",
    "kept_under",
    "settle",
    "settlement",
    "state_of",
    "was_evicted",
]

#: Job records, each with its store and its key there.
Kept = list[tuple[JobRecord, JobStore, str]]

#: Seconds for looking for a job whose creation was cut through. Prefect kills a cancelled process after 30.
_SETTLE = 8.0
_PATIENCE = 10.0

_NOT_HERE = "A job of this task could not be ended here; the flow's hooks try again. {error}"
#: States in which a flow run is not wanted. "Failed" is none of them: what a failed run has left is for a re-run.
UNWANTED = (StateType.CANCELLING, StateType.CANCELLED)
#: What a runner says that cancels its runs because it was told to stop itself, as at a deploy.
_EVICTION = "Runner is shutting down"


def settlement(record: JobRecord, *, wanted: bool | None, base_url: str = "") -> Steps[None]:
    """Steps that end a job, or leave it, after its task was interrupted, and say so.

    Args:
        record: the job's record.
        wanted: whether the flow run is still wanted; `None` if that could not be learned.
        base_url: where the API is, for the link in the log.
    """
    kind = kind_named(record.kind)
    if is_over(record):
        return
    if wanted is False or kind.bills_until_stopped:
        last = yield from abandonment(kind, record, settle=_SETTLE, patience=_PATIENCE)
        record = (yield Load()) or record
    else:
        last = None
    if record.phase is not Phase.PREPARING:
        yield Log(last_words(record, base_url, retryable=True, last=last), "warning")


def settle(
    credentials: TogetherCredentials | str, owner: Owner, found: Callable[[], Kept], *, unwanted: bool = False
) -> None:
    """End or leave the jobs of a task that was just interrupted. An error here is logged: the hooks try again.

    Args:
        credentials: the jobs' account. Its block may not have been loaded yet.
        owner: who wanted them.
        found: reads their records, each with its store and its key.
        unwanted: whether it is known already that nobody wants them any more.
    """
    log, time_has_passed = run_logger(), time_is_up()

    def settle_one(one: tuple[JobRecord, JobStore, str]) -> None:
        record, store, key = one
        try:  # one that cannot be ended must not keep the others from it
            run(settlement(record, wanted=wanted, base_url=base_url), client=client, store=store, key=key, log=log)
        except Exception as error:
            log(_NOT_HERE.format(error=error), "error")

    try:
        account = credentials_of(credentials)
        base_url, kept = account.get_base_url(), found()
        if time_has_passed or not kept:
            wanted: bool | None = False
        elif owner.leaves_work:
            wanted = None
        else:
            wanted = False if unwanted else is_wanted(owner.flow_run_id)
        with account.get_client() as client:
            each_at_once(kept, settle_one)
    except Exception as error:  # the interruption is what the caller must hear of
        log(_NOT_HERE.format(error=error), "error")


async def asettle(
    credentials: TogetherCredentials | str, owner: Owner, found: Callable[[], Kept], *, unwanted: bool = False
) -> None:
    """The same as `settle`, from the event loop. It comes to its end even if the loop is told to end meanwhile."""
    await to_its_end(partial(settle, credentials, owner, found, unwanted=unwanted))


def kept_under(store: JobStore, key: str) -> Kept:
    """The record of a submission, if it came to have one."""
    record = look_up(store, key)
    return [] if record is None else [(record, store, key)]


def kept_for(references: Iterable[JobReference], owner: Owner) -> Kept:
    """The records of those jobs that this flow run has submitted; of the others it ends none."""
    records = kept_by_job(owner.flow_run_id)
    own = [records[reference] for reference in references if reference in records]
    store = store_with(own, owner)
    return [(kept.record, store, kept.key) for kept in own]


def is_wanted(flow_run_id: UUID | None) -> bool | None:
    """Whether nobody has cancelled the flow run, by what the server says now; `None` if it does not say.

    Outside a flow run an interruption is a person's, at the keyboard.
    """
    if flow_run_id is None:
        return False
    state = state_of(flow_run_id)
    return None if state is None else state not in UNWANTED


def state_of(flow_run_id: UUID) -> StateType | None:
    """The state of a flow run, by what the server says now; `None` if it does not say. An evicted one has crashed."""
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(flow_run_id).state
    except Exception:  # whatever the reason, it is not known
        return None
    if state is None:
        return StateType.PENDING
    return StateType.CRASHED if was_evicted(state) else state.type


def was_evicted(state: State) -> bool:
    """Whether a flow run was cancelled by nobody but a runner that is stopped itself, so that it is still wanted."""
    return state.type in UNWANTED and (state.message or "").startswith(_EVICTION)
