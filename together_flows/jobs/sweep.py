"""The sweep: list what runs remotely, tell whose it is, and end what nobody can want any more, when told to.

Jobs are listed before the claims on them are read. A record is stored before its job is created, so whatever the lists
show has its record by then, and no job is taken for nobody's only because it is new. Just before a job is ended its
claim is read once more: its task may have been cleared in the meantime.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from together_flows.jobs.at_once import each_at_once
from together_flows.jobs.census import Census, census, looked_up, still_runs
from together_flows.jobs.claim import Claim, ClaimSource, Standing, is_lost, is_over
from together_flows.jobs.ending import end_job, look
from together_flows.jobs.kind import JobKind, kind_named
from together_flows.jobs.model import JobReference, JobStatus
from together_flows.jobs.record import JobRecord
from together_flows.jobs.steps import Logger, Steps, run
from together_flows.jobs.submission import abandonment
from together_flows.jobs.sweep_report import Ended, SweepReport
from together_flows.jobs.verdict import Finding, Verdict, judge

if TYPE_CHECKING:
    from together_flows.client import Together

__all__ = ["GRACE", "SweepWishes", "sweep"]

#: Seconds that a job must have lived before it is ended, unless told otherwise.
GRACE = 600.0


@dataclass(frozen=True, kw_only=True)
class SweepWishes:
    """What a sweep is to do.

    Attributes:
        stop: end the orphans. Otherwise nothing is changed anywhere.
        include_unclaimed: with `stop`, also end what carries a marker and has no record in any source. Another Airflow
            or Prefect may own it.
        grace: seconds that a job must have lived before it is ended.
    """

    stop: bool = False
    include_unclaimed: bool = False
    grace: float = GRACE

    def dooms(self, verdict: Verdict) -> bool:
        """Whether a job of which this was found is to be ended."""
        if not self.stop:
            return False
        return verdict is Verdict.ORPHAN or (verdict is Verdict.UNCLAIMED and self.include_unclaimed)


def sweep(
    client: Together,
    sources: Iterable[ClaimSource],
    wishes: SweepWishes = SweepWishes(),
    *,
    log: Logger | None = None,
    now: Callable[[], float] = time.time,
) -> SweepReport:
    """List what runs, tell whose it is, and end the orphans when told to.

    Args:
        client: the account that is swept.
        sources: who may own jobs in it. One that cannot be read fails the sweep before anything is ended.
        wishes: what to do; by default nothing is ended.
        log: called with a message and a level.
        now: the clock.

    Raises:
        AuthenticationFailed: the key is wrong.
        TogetherError: a source could not be read.
    """
    seen = run(census(), client=client, log=log)
    claims = [claim for source in sources for claim in source.claims()]
    jobs = (*seen.jobs, *run(looked_up(_unlisted(claims, seen)), client=client, log=log))
    findings = judge(jobs, claims, now=now(), grace=wishes.grace)
    endings = _Ending(client, wishes, log, now).end_all(
        [finding for finding in findings if wishes.dooms(finding.verdict)]
    )
    spared = {reference for reference, ended in endings.items() if ended is None}
    return SweepReport(
        findings=tuple(
            replace(finding, verdict=Verdict.WANTED) if finding.reference in spared else finding for finding in findings
        ),
        stopping=wishes.stop,
        ended={reference: ended for reference, ended in endings.items() if ended is not None},
        lost=tuple(claim for claim in claims if is_lost(claim.record) and claim.standing is not Standing.ACTIVE),
        unlisted=seen.unlisted,
    )


def _unlisted(claims: Iterable[Claim], seen: Census) -> list[JobReference]:
    """The claimed jobs that no list has shown, because their kind has none or because it is cut."""
    claimed = {claim.record.reference for claim in claims if claim.record.id is not None and not is_over(claim.record)}
    running = {reference for reference in claimed - seen.listed if not kind_named(reference.kind).repeatable}
    return sorted(running)


@dataclass(frozen=True)
class _Ending:
    """Ends jobs, each by itself: one that cannot be ended keeps no other from it."""

    client: Together
    wishes: SweepWishes
    log: Logger | None
    now: Callable[[], float]

    def end_all(self, doomed: Sequence[Finding]) -> dict[JobReference, Ended | None]:
        """How the end of each went; `None` for one that has become wanted since it was judged."""
        endings = each_at_once(doomed, self._end)
        return {finding.reference: ending for finding, ending in zip(doomed, endings, strict=True)}

    def _end(self, finding: Finding) -> Ended | None:
        try:
            if not self._is_still_doomed(finding):
                self._say(f"{finding.reference} is left alone: its owner wants it again.", "info")
                return None
            claim = finding.claim
            steps = _ending_of(finding)
            store, key = (claim.store, claim.key) if claim else (None, "")
            last = run(steps, client=self.client, store=store, key=key, log=self.log)
        except Exception as error:  # whatever it is, the others are to be ended
            self._say(f"{finding.reference} could not be ended: {error}", "error")
            return Ended(False, str(error))
        if last is None:
            return Ended(True, "gone")
        confirmed = last.known and not still_runs(last)
        return Ended(
            confirmed, last.raw.lower() if confirmed else f"it was told to end, and is {last.raw.lower()} still"
        )

    def _is_still_doomed(self, finding: Finding) -> bool:
        if finding.claim is None:
            return True
        claim = finding.claim.renew()
        if claim is None:
            return self.wishes.dooms(Verdict.UNCLAIMED)
        [again] = judge([finding.job], [claim], now=self.now(), grace=self.wishes.grace)
        return self.wishes.dooms(again.verdict)

    def _say(self, message: str, level: str) -> None:
        if self.log:
            self.log(message, level)


def _ending_of(finding: Finding) -> Steps[JobStatus | None]:
    """Steps that end a job, and that write it down where its record is kept."""
    kind, job_id = kind_named(finding.reference.kind), finding.reference.id
    claim = finding.claim
    if claim is None or claim.record.id not in (None, job_id):  # the record is of another job: this one is a double
        return end_job(kind, job_id)
    return _abandoned(kind, claim.record, job_id)


def _abandoned(kind: JobKind, record: JobRecord, job_id: str) -> Steps[JobStatus | None]:
    """The same for the job of a record. Where the record has been taken over meanwhile, its job is as it was."""
    last = yield from abandonment(kind, record)
    return last or (yield from look(kind, job_id))
