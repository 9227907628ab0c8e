"""How many requests were under way at once: what a client that promises a bound is measured by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Traffic"]


class Traffic:
    """The requests under way.

    Attributes:
        most: by route, the most that were under way at once.
    """

    def __init__(self) -> None:
        self.most: Counter[str] = Counter()
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def passing(self, route: str) -> Iterator[None]:
        """A request is under way while the block runs."""
        self._under_way[route] += 1
        self.most[route] = max(self.most[route], self._under_way[route])
        try:
            yield
        finally:
            self._under_way[route] -= 1

    def forget(self) -> None:
        """Start the count anew; what is under way still counts."""
        self.most = +self._under_way
