"""How far the rows have come: what the log, a progress bar or a person wants to know meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["OnProgress", "Progress"]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One look at rows that are being sent.

    Attributes:
        settled: rows that need nothing more, with those of earlier attempts.
        failed: of these, rows that have failed in this attempt.
        resumed: of these, rows that earlier attempts have settled.
        total: all rows; `None` while they are being counted.
        in_flight: requests under way.
        limit: most that may be under way at present.
        cost_usd: US dollars spent in this attempt, as far as prices are known.
        seconds: since this attempt began.
    """

    settled: int
    failed: int = 0
    resumed: int = 0
    total: int | None = None
    in_flight: int = 0
    limit: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0

    @property
    def share(self) -> float | None:
        """The share that is settled, 0 to 1; `None` while the rows are being counted."""
        return None if not self.total else min(self.settled / self.total, 1.0)

    @property
    def seconds_remaining(self) -> float | None:
        """Seconds to the end at this attempt's pace, where that can be told."""
        done = self.settled - self.resumed
        if self.total is None or done <= 0:
            return None
        return self.seconds / done * max(self.total - self.settled, 0)

    def describe(self) -> str:
        """One line for a log."""
        of_all = "" if self.share is None else f" of {self.total} ({self.share:.0%})"
        parts = [f"{self.settled}{of_all} rows are done"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        parts.append(f"{self.in_flight} in flight, of at most {self.limit}")
        if self.cost_usd:
            parts.append(f"${self.cost_usd:.2f} spent")
        if self.seconds_remaining:
            parts.append(f"about {_in_words(self.seconds_remaining)} left")
        return "; ".join(parts) + "."


OnProgress: TypeAlias = Callable[[Progress], Awaitable[None]]
"""Told of progress now and then. It must not fail."""


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
