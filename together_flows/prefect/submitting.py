"""Submitting one job for a task: priced, recorded on the flow run, and never twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import anyio

from together_flows.client import async_client_for, client_for
from together_flows.errors import TogetherError
from together_flows.jobs import (
    JobRecord,
    JobReference,
    JobStore,
    MemoryStore,
    PriceEstimate,
    SubmissionPolicy,
    arun,
    check_budget,
    kind_named,
    page_of,
    run,
    with_last_words,
)
from together_flows.jobs.kind import JobKind
from together_flows.jobs.model import Spec
from together_flows.jobs.steps import Load, Log, Steps
from together_flows.jobs.submission import submission, submits_new
from together_flows.policies import OnUnknown
from together_flows.prefect.credentials import TogetherCredentials, acredentials_of, credentials_of, name_of
from together_flows.prefect.identity import Owner, owner_of_this_call
from together_flows.prefect.interruption import asettle, kept_under, settle
from together_flows.prefect.records import key_of, store_of
from together_flows.prefect.secret_arguments import with_secrets
from together_flows.prefect.view import announce, ashow_link, run_logger, show_link

__all__ = ["Job", "Money", "asubmit", "given", "page_for", "submit"]

#: A submitted job as a task returns it: `reference` (`kind:id`), `kind`, `id` and `url`, its page.
Job = dict[str, str]


@dataclass(frozen=True)
class Money:
    """What a job may cost.

    Attributes:
        budget: US dollars.
        price: gives the steps that find out what a job of a specification costs.
    """

    budget: float
    price: Callable[[Spec], Steps[PriceEstimate]]


def given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that were given: `None` means "not given", as everywhere."""
    return {name: value for name, value in arguments.items() if value is not None}


@dataclass(frozen=True)
class _Intention:
    """One job that one task run wants."""

    kind: JobKind
    spec: Spec
    owner: Owner
    store: JobStore
    key: str

    @classmethod
    def of(cls, kind_name: str, spec: Spec, account: TogetherCredentials, block: str) -> _Intention:
        kind, owner = kind_named(kind_name), owner_of_this_call()
        if owner.flow_run_id is not None and not block:
            run_logger()(
                "The credentials block is not saved, so the hooks of this flow could not end its jobs from another "
                "process. Save the block, and pass its name.",
                "warning",
            )
        full = with_secrets(kind_name, spec, account)
        # What may be repeated freely needs no record that outlives the process, and nobody has to end it.
        store = MemoryStore() if kind.repeatable else store_of(owner, block)
        return cls(kind, full, owner, store, key_of(owner, kind.fingerprint(full)))

    def records(self) -> list[JobRecord]:
        """The job's record, if the submission came so far as to leave one."""
        return [record for record, _, _ in kept_under(self.store, self.key)]

    def steps(self, money: Money | None, on_unknown: OnUnknown) -> Steps[JobRecord]:
        policy = SubmissionPolicy(on_unknown=on_unknown)
        if money is not None:
            policy = replace(policy, estimated_usd=(yield from self._check_budget(money, policy)))
        return (yield from submission(self.kind, self.spec, policy))

    def _check_budget(self, money: Money, policy: SubmissionPolicy) -> Steps[float | None]:
        """Stop before money is spent. A job that was submitted already is not stopped by its own price."""
        record: JobRecord | None = yield Load()
        if not submits_new(record, self.kind.fingerprint(self.spec), policy):
            return None
        estimate = yield from money.price(self.spec)
        yield Log(f"Estimated price: ${estimate.usd:.2f} ({estimate.basis}); budget ${money.budget:.2f}.", "info")
        check_budget(estimate, money.budget)
        return estimate.usd


def submit(
    kind_name: str,
    spec: Spec,
    credentials: TogetherCredentials | str,
    *,
    money: Money | None = None,
    on_unknown: OnUnknown = "fail",
) -> Job:
    """Submit a job, or adopt the one that an earlier attempt of this task or flow run has submitted.

    Args:
        kind_name: job kind.
        spec: arguments of the kind's creation, without secrets: those come from the credentials.
        credentials: the account.
        money: what it may cost; `None` for no limit of ours.
        on_unknown: what to do where a lost job cannot be looked for.
    """
    account = credentials_of(credentials)
    client, log = client_for(api_key=account.api_key, base_url=account.base_url), run_logger()
    wanted = _Intention.of(kind_name, spec, account, name_of(credentials))
    try:
        record = run(wanted.steps(money, on_unknown), client=client, store=wanted.store, key=wanted.key, log=log)
    except TogetherError as error:
        with_last_words(error, wanted.records(), account.get_base_url())
        raise
    except Exception:
        raise
    except BaseException:
        settle(account, wanted.owner, lambda: kept_under(wanted.store, wanted.key))
        raise
    page = page_for(record.reference, account)
    show_link(record.reference, page)
    return _submitted(record.reference, page)


async def asubmit(
    kind_name: str,
    spec: Spec,
    credentials: TogetherCredentials | str,
    *,
    money: Money | None = None,
    on_unknown: OnUnknown = "fail",
) -> Job:
    """The same as `submit`, on the event loop."""
    account = await acredentials_of(credentials)
    client, log = async_client_for(api_key=account.api_key, base_url=account.base_url), run_logger()
    wanted = _Intention.of(kind_name, spec, account, name_of(credentials))
    try:
        steps = wanted.steps(money, on_unknown)
        record = await arun(steps, client=client, store=wanted.store, key=wanted.key, log=log)
    except TogetherError as error:
        records = await anyio.to_thread.run_sync(wanted.records)
        with_last_words(error, records, account.get_base_url())
        raise
    except Exception:
        raise
    except BaseException:
        await asettle(account, wanted.owner, lambda: kept_under(wanted.store, wanted.key))
        raise
    page = page_for(record.reference, account)
    await ashow_link(record.reference, page)
    return _submitted(record.reference, page)


def page_for(reference: JobReference, account: TogetherCredentials) -> str:
    """The address of a job's page, in the account that it belongs to."""
    return page_of(reference, account.get_base_url())


def _submitted(reference: JobReference, page: str) -> Job:
    announce(reference, "submitted", page)
    return {"reference": str(reference), "kind": reference.kind, "id": reference.id, "url": page}
