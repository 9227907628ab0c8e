"""The emulator's rate limit: a bucket of requests that refills by the minute."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Pace"]


class Pace:
    """Counts requests against a limit per real minute.

    Args:
        real_time: the source of real seconds.
    """

    def __init__(self, *, real_time: Callable[[], float] = time.monotonic) -> None:
        self._real_time = real_time
        self._limit: int | None = None
        self._left = 0.0
        self._asked = 0.0

    def wait(self, limit: int | None) -> float:
        """Takes one request from the bucket.

        Returns:
            0 when it is let through, otherwise the seconds after which there is room again.
        """
        now = self._real_time()
        if limit is None:
            self._limit = None
            return 0.0
        if limit != self._limit:
            self._limit, self._left, self._asked = limit, float(limit), now
        per_second = limit / 60
        self._left = min(float(limit), self._left + (now - self._asked) * per_second)
        self._asked = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / per_second if per_second else 60.0

    def headers(self) -> dict[str, str]:
        """What serverless answers say of the limit; nothing when there is none."""
        if self._limit is None:
            return {}
        return {
            "x-ratelimit-limit": str(self._limit),
            "x-ratelimit-remaining": str(int(self._left)),
            "x-ratelimit-reset": f"{60 * (1 - self._left / self._limit):.0f}" if self._limit else "60",
        }
