"""Finds remote jobs of flow runs that are over, or whose process is gone, and ends those that nobody can want.

Hooks run only where a runner lives to call them. When the runner itself dies, its runs stay behind, in whatever state
they were, and so do their jobs. This flow is the last of the three layers that end a job: schedule it, or run it once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import StateType

from together_flows.errors import AuthenticationFailed, TogetherError
from together_flows.jobs.steps import Logger
from together_flows.jobs.sweep import SweepWishes
from together_flows.jobs.sweep import sweep as sweep_account
from together_flows.jobs.sweep_report import SweepReport
from together_flows.jobs.verdict import Finding, Verdict, verdict_of
from together_flows.prefect.claims import FlowRunClaim, PrefectClaims, standing_of
from together_flows.prefect.credentials import TogetherCredentials, credentials_of, name_of
from together_flows.prefect.kept import KeptRecord
from together_flows.prefect.view import run_logger, show_table

__all__ = ["sweep", "verdict"]


@flow(name="together-sweep")
def sweep(
    *,
    dry_run: bool = True,
    days: float = 7.0,
    dead_after_hours: float | None = None,
    cancelling_for_minutes: float = 10.0,
    grace_minutes: float = 0.0,
    credentials: TogetherCredentials | str | None = None,
    include_unclaimed: bool = False,
) -> list[dict[str, Any]]:
    """List what runs remotely and whose it is, and end the jobs that nobody can want.

    What a cancelled run has left is ended. Of a failed or crashed run, what bills until it is stopped is ended; work
    that ends by itself is left, because a re-run adopts it. Of a completed run nothing is ended: it may have deployed
    an endpoint on purpose. A job without a marker of ours is never touched.

    Args:
        dry_run: only list them.
        days: look at flow runs that started in the last so many days, and at all that have not ended.
        dead_after_hours: take a run that is "running" for longer than this for dead, and treat it as crashed. Left out,
            a running run wants its jobs: whether its process lives cannot be seen from here.
        cancelling_for_minutes: take a run that is "cancelling" for longer than this for cancelled.
        grace_minutes: end nothing that was created in the last so many minutes.
        credentials: a block, or the name of one, whose account is swept although no run has used it. The accounts that
            runs have used are swept anyway.
        include_unclaimed: also end what carries a marker of ours and belongs to no run of this server. An Airflow or
            another Prefect server may own it.

    Returns:
        One row for each job of ours that still runs: `flow_run`, `run_state`, `reference`, `job_state`, `verdict`
        (`"end"`, `"unclaimed"`, `"young"`, `"leave"`, `"keep"` or `"wanted"`), `usd_per_hour`, `age_seconds` and
        `ended`, which is empty where nothing was to be ended.

    Raises:
        TogetherError: an account could not be looked at; all others were swept before. A key that Together refuses is
            an error only where `credentials` names it, for a run that used it has made nothing that could be seen with
            it: elsewhere the log tells.
    """
    log = run_logger()
    wishes = SweepWishes(stop=not dry_run, include_unclaimed=include_unclaimed, grace=60.0 * grace_minutes)
    source = PrefectClaims(
        days=days,
        dead_after=timedelta(hours=dead_after_hours) if dead_after_hours else None,
        cancelling_for=timedelta(minutes=cancelling_for_minutes),
    )
    rows = []
    unseen: list[TogetherError] = []
    for account in _accounts(source, credentials, log):
        try:
            with account.block.get_client() as client:
                report = sweep_account(client, [replace(source, blocks=account.names)], wishes, log=log)
        except TogetherError as error:  # the other accounts are swept all the same
            log(f"What runs in the account of block {account} cannot be seen: {error}", "error")
            if account.is_wanted or not isinstance(error, AuthenticationFailed):
                unseen.append(error)
            continue
        log(report.text(), "info" if report.is_clean else "warning")
        rows += [_row(report, finding) for finding in report.findings if finding.verdict is not Verdict.FOREIGN]
    if rows:
        show_table("together-sweep", rows, "Remote jobs that run, and whose they are")
    if unseen:
        raise unseen[0]
    return rows


def verdict(kept: KeptRecord, state: StateType) -> str:
    """What should become of a job that runs on after its flow run has ended so."""
    return _word(verdict_of(kept.record, standing_of(state)))


@dataclass(frozen=True)
class _Account:
    """An account, the names of all blocks that hold its key, and whether it was asked for."""

    block: TogetherCredentials
    names: frozenset[str]
    is_wanted: bool

    def __str__(self) -> str:
        return ", ".join(sorted(self.names - {""})) or "(unnamed)"


def _accounts(source: PrefectClaims, wanted: TogetherCredentials | str | None, log: Logger) -> list[_Account]:
    """The account that was asked for, and those that runs have used, each once."""
    blocks: list[TogetherCredentials | str] = [*sorted({claim.credentials for claim in source.claims()} - {""})]
    if wanted is not None:
        blocks.insert(0, wanted)
    accounts: dict[tuple[str, str], _Account] = {}
    for named in blocks:
        try:
            block = credentials_of(named)
        except TogetherError as error:
            log(f"What runs in the account of block {named} cannot be seen: {error}", "error")
            continue
        key = (block.api_key.get_secret_value(), block.get_base_url())
        before = accounts.get(key, _Account(block, frozenset(), is_wanted=named is wanted))
        accounts[key] = replace(before, names=before.names | {name_of(named)})
    return list(accounts.values())


def _row(report: SweepReport, finding: Finding) -> dict[str, Any]:
    told = report.row_of(finding)
    claim = finding.claim if isinstance(finding.claim, FlowRunClaim) else None
    failed = told["ended"] is False
    return {
        "flow_run": claim.flow_run_id if claim else "",
        "run_state": told["owner_state"],
        "reference": told["reference"],
        "job_state": told["state"],
        "verdict": _word(finding.verdict),
        "usd_per_hour": told["usd_per_hour"],
        "age_seconds": told["age_seconds"],
        "ended": f"failed: {told['ending']}" if failed else told["ending"],
    }


def _word(verdict: Verdict) -> str:
    """What a row says should be done about a job."""
    return "end" if verdict is Verdict.ORPHAN else str(verdict)
