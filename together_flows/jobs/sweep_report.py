"""What a sweep has found, for a person who is called at night and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from together_flows.jobs.census import Unlisted
from together_flows.jobs.claim import Claim
from together_flows.jobs.kind import kind_named
from together_flows.jobs.model import JobReference
from together_flows.jobs.verdict import Finding, Verdict

__all__ = ["COLUMNS", "Ended", "SweepReport", "cost_of"]

#: Of each row that `SweepReport.rows` gives.
COLUMNS = ("verdict", "job", "state", "age", "$ an hour", "whose")


@dataclass(frozen=True)
class Ended:
    """What became of a job that was told to end.

    Attributes:
        confirmed: whether it certainly runs no more.
        words: its last status, or why it could not be ended.
    """

    confirmed: bool
    words: str


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """What runs remotely, and what became of it.

    Attributes:
        findings: each job that runs, the most urgent first.
        stopping: whether the sweep was to end anything.
        ended: the jobs that it has told to end.
        lost: claims on jobs that nobody can find: their creation's answer never came, and their owner is over.
        unlisted: the kinds whose list could not be read.
    """

    findings: tuple[Finding, ...]
    stopping: bool = False
    ended: Mapping[JobReference, Ended] = field(default_factory=dict)
    lost: tuple[Claim, ...] = ()
    unlisted: tuple[Unlisted, ...] = ()

    def of(self, *verdicts: Verdict) -> list[Finding]:
        """The findings with these verdicts."""
        return [finding for finding in self.findings if finding.verdict in verdicts]

    @property
    def remaining(self) -> list[Finding]:
        """The orphans that still run, and what else was told to end and may still run."""
        told = {reference for reference, ended in self.ended.items() if not ended.confirmed}
        return [
            finding
            for finding in self.findings
            if finding.reference in told or (finding.verdict is Verdict.ORPHAN and finding.reference not in self.ended)
        ]

    def _left(self, verdict: Verdict) -> list[Finding]:
        """The findings with this verdict that were not told to end."""
        return [finding for finding in self.of(verdict) if finding.reference not in self.ended]

    @property
    def is_clean(self) -> bool:
        """Whether nobody has to act: no orphan runs on, and every list that should be there could be read."""
        return not self.remaining and not any(gap.error.retryable for gap in self.unlisted)

    def headline(self) -> str:
        """The one line to read."""
        done = [finding for finding in self.findings if (it := self.ended.get(finding.reference)) and it.confirmed]
        parts = [f"{_count(done)} ended, which cost {cost_of(done)}."] if done else []
        if self.remaining:
            parts.append(f"{_count(self.remaining, 'orphan')} running, at {cost_of(self.remaining)}.")
        parts = parts or ["No orphans."]
        if self._unclaimed:
            parts.append(f"{_count(self._unclaimed, 'unclaimed job')} running, at {cost_of(self._unclaimed)}.")
        return " ".join(parts)

    @property
    def _unclaimed(self) -> list[Finding]:
        """Those that were not told to end."""
        return [finding for finding in self.of(Verdict.UNCLAIMED) if finding.reference not in self.ended]

    def rows(self) -> list[tuple[str, ...]]:
        """The table's cells, in the order of `COLUMNS`. What needs nobody's eye is counted in the notes instead."""
        return [self._cells(finding) for finding in self._shown]

    @property
    def _shown(self) -> list[Finding]:
        urgent = [finding for finding in self.findings if finding.verdict not in (Verdict.WANTED, Verdict.FOREIGN)]
        return [*urgent, *self.of(Verdict.WANTED)[:_MOST_WANTED]]

    def _cells(self, finding: Finding) -> tuple[str, ...]:
        return (
            str(finding.verdict),
            str(finding.reference),
            self._state(finding),
            "?" if finding.age is None else duration(finding.age),
            _price(finding),
            whose(finding),
        )

    def _state(self, finding: Finding) -> str:
        ended, state = self.ended.get(finding.reference), finding.job.status.raw.lower()
        if ended is None:
            return state
        return f"{state}, now {ended.words}" if ended.confirmed else f"{state}, not ended"

    def notes(self) -> list[str]:
        """What else a person has to know, a line each."""
        failed = [f"{reference} was not ended: {it.words}" for reference, it in self.ended.items() if not it.confirmed]
        lost = [
            f"A {kind_named(claim.record.kind).noun} of {claim.owner} ({claim.owner_state}) may run and cannot be "
            f"found, for the answer to its creation was lost ({_moment(claim.record.intent_at)}). "
            "Look on Together's site."
            for claim in self.lost
        ]
        gaps = [
            f"The list of every {kind_named(gap.kind).noun} could not be read: {gap.error}" for gap in self.unlisted
        ]
        return [*failed, *lost, *gaps, *self._counted()]

    def _counted(self) -> list[str]:
        groups = (
            ("Ours by the marker, and unknown to whoever was asked", self._unclaimed),
            ("Too young to be judged", self.of(Verdict.YOUNG)),
            ("Wanted, and not shown", self.of(Verdict.WANTED)[_MOST_WANTED:]),
            ("Not ours, and never touched", self.of(Verdict.FOREIGN)),
        )
        return [f"{words}: {_kinds(found)}, at {cost_of(found)}." for words, found in groups if found]

    def text(self) -> str:
        """The whole report as plain text."""
        table = self.rows()
        return "\n".join([self.headline(), *(aligned([COLUMNS, *table]) if table else ()), *self.notes()])

    def to_dict(self, *, most: int | None = None) -> dict[str, Any]:
        """As plain JSON data.

        Args:
            most: of how many jobs to tell at most; the counts are always of all. All by default.
        """
        told = [finding for finding in self.findings if finding.verdict is not Verdict.FOREIGN]
        return {
            "summary": self.headline(),
            "clean": self.is_clean,
            "stopping": self.stopping,
            "counts": {str(verdict): len(self.of(verdict)) for verdict in Verdict},
            "remaining": len(self.remaining),
            "remaining_usd_per_hour": _sum(self.remaining),
            "jobs": [self.row_of(finding) for finding in told[:most]],
            "notes": self.notes(),
        }

    def row_of(self, finding: Finding) -> dict[str, Any]:
        """One job of the report as plain JSON data."""
        ended, claim = self.ended.get(finding.reference), finding.claim
        return {
            "verdict": str(finding.verdict),
            "reference": str(finding.reference),
            "state": finding.job.status.raw,
            "age_seconds": None if finding.age is None else round(finding.age),
            "usd_per_hour": finding.job.usd_per_hour,
            "owner": claim.owner if claim else "",
            "owner_state": claim.owner_state if claim else "",
            "marker": finding.job.marker or (claim.record.marker if claim else ""),
            "ended": None if ended is None else ended.confirmed,
            "ending": ended.words if ended else "",
        }


#: Most rows of wanted jobs in a table: a person reads it for the others.
_MOST_WANTED = 20


def whose(finding: Finding) -> str:
    """Who owns a job, in a cell of a table."""
    if finding.claim is None:
        return f"no record of {finding.job.marker}" if finding.job.marker else ""
    return f"{finding.claim.owner} ({finding.claim.owner_state})"


def cost_of(findings: Iterable[Finding]) -> str:
    """What jobs cost together, in words that hide no job without a price."""
    found = list(findings)
    unpriced = sum(
        finding.job.usd_per_hour is None and kind_named(finding.reference.kind).bills_until_stopped for finding in found
    )
    known = _sum(found)
    if unpriced and not known:
        return "a price that the API does not tell"
    return f"${known:.2f} an hour" + (f" and {unpriced} without a known price" if unpriced else "")


def duration(seconds: float) -> str:
    """How long something lasts, in its two largest units."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86_400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{int(seconds)} s"


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a table as lines with straight columns."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _price(finding: Finding) -> str:
    """A price by the hour; `?` where a job has one that the API does not tell, `-` where it is paid otherwise."""
    if finding.job.usd_per_hour is not None:
        return f"{finding.job.usd_per_hour:.2f}"
    return "?" if kind_named(finding.reference.kind).bills_until_stopped else "-"


def _kinds(findings: Iterable[Finding]) -> str:
    counts = Counter(finding.reference.kind for finding in findings)
    return ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))


def _sum(findings: Iterable[Finding]) -> float:
    return round(sum(finding.job.usd_per_hour or 0.0 for finding in findings), 4)


def _count(findings: Sequence[Finding], noun: str = "job") -> str:
    return f"{len(findings)} {noun}{'' if len(findings) == 1 else 's'}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
