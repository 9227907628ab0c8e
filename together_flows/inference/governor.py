"""How many requests may be in flight, and when the next may start: learned from what the API answers.

The rule is the one that keeps networks from collapsing: grow by one for each round of good answers, fall by half when
the API says that it is too much. Besides, a stated rate limit is kept before it is overstepped, and a stated wait is
waited out by everybody. The governor is fed values and answers with decisions; it has no clock and no socket.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from together_flows.client.retry import Retries
from together_flows.errors import ArgumentInvalid

__all__ = ["NOBODY_LEAVES_SOONER", "Governor"]

NOBODY_LEAVES_SOONER = math.inf
"""The answer of `Governor.delay` when a request may start only after another has ended."""

_FALL = 0.5
_HOLDS = Retries(first=1.0, longest=60.0)
"""Seconds to hold everything after refusals in a row that name no wait themselves."""

_LONGEST_SPACING = 5.0
"""Seconds between two starts at most, whatever the headers say of a limit that is used up."""

_MARGIN = 2
"""Starts are spread out while twice as many are left as may be in flight: the count is as old as its answer, and a
burst may follow it."""

_REMAINING = ("x-ratelimit-remaining", "x-ratelimit-remaining-dynamic")
_LIMIT, _RESET = "x-ratelimit-limit", "x-ratelimit-reset"
_TOKENS = ("x-tokenlimit-remaining", "x-tokenlimit-remaining-dynamic")


class Governor:
    """Decides when a request may start. Times are seconds of any one clock.

    Attributes:
        ceiling: most requests in flight.
        limit: how many may be in flight at present.
        in_flight: how many are.
        refusals: how many were refused for their rate.
    """

    def __init__(self, ceiling: int) -> None:
        if ceiling < 1:
            raise ArgumentInvalid(f"concurrency must be at least 1 (got {ceiling}).")
        self.ceiling = ceiling
        self.limit = float(ceiling)
        self.in_flight = 0
        self.refusals = 0
        self._in_a_row = 0
        self._held_until = -math.inf
        self._fell_at = -math.inf
        self._spacing = 0.0
        self._next_start = -math.inf

    def delay(self, now: float) -> float:
        """Seconds until another request may start: 0 for at once, `NOBODY_LEAVES_SOONER` if there is no room."""
        if self.in_flight >= max(1, int(self.limit)):
            return NOBODY_LEAVES_SOONER
        return max(0.0, self._held_until - now, self._next_start - now)

    def started(self, now: float) -> None:
        """A request has started."""
        self.in_flight += 1
        self._next_start = max(now, self._next_start) + self._spacing if self._spacing else -math.inf

    def ended(self) -> None:
        """A request has ended, however it did."""
        self.in_flight -= 1

    def answered(self, headers: Mapping[str, str]) -> None:
        """A request was answered well."""
        self._in_a_row = 0
        self.limit = min(float(self.ceiling), self.limit + 1 / self.limit)
        self._spacing = _spacing(headers, self.limit)

    def refused(self, *, began: float, now: float, retry_after: float | None = None) -> None:
        """A request was refused because there were too many, or because the API is overloaded.

        Args:
            began: when it started. Of all that were in flight together, only the first that is refused counts.
            now: the present.
            retry_after: seconds that the API asked to wait.
        """
        self.refusals += 1
        if began > self._fell_at:
            self._fell_at = now
            self._in_a_row += 1
            self.limit = max(1.0, min(self.limit, float(self.in_flight or 1)) * _FALL)
        wait = retry_after if retry_after is not None else _HOLDS.wait(self._in_a_row)
        self._held_until = max(self._held_until, now + wait)


def _spacing(headers: Mapping[str, str], at_once: float) -> float:
    """Seconds between two starts that a rate limit which is nearly used up leaves room for; 0 for no such limit.

    A limit that is whole again after `reset` seconds gives back one request every `reset / used` seconds.
    """
    tokens = _least(headers, _TOKENS)
    if tokens is not None and tokens <= 0:
        return _LONGEST_SPACING
    remaining = _least(headers, _REMAINING)
    if remaining is None or remaining > _MARGIN * at_once:
        return 0.0
    limit, reset = _number(headers.get(_LIMIT)), _number(headers.get(_RESET))
    if limit is None or reset is None or limit <= remaining:
        return 0.0
    return min(reset / (limit - remaining), _LONGEST_SPACING)


def _least(headers: Mapping[str, str], names: tuple[str, ...]) -> float | None:
    numbers = [number for name in names if (number := _number(headers.get(name))) is not None]
    return min(numbers, default=None)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
