"""Feeds requests to whoever is free: rows are read and turned into requests a block at a time, in a thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from together_flows.inference.requests import Asked

__all__ = ["Intake"]

_BLOCK_ROWS = 256
_BLOCK_BYTES = 4 << 20


class _Settled(Protocol):
    def __call__(self, index: int, digest: int) -> bool: ...


class Intake:
    """The requests that are still to be sent, one at a time, for any number of takers.

    Attributes:
        rows: rows that were read so far.
        skipped: of these, those that are settled already.

    Args:
        requests: all requests, read lazily.
        settled: whether nothing more is to be sent for a row.
    """

    def __init__(self, requests: Iterator[Asked], settled: _Settled) -> None:
        self.rows = self.skipped = 0
        self._requests = requests
        self._settled = settled
        self._block: deque[Asked] = deque()
        self._reading = asyncio.Lock()
        self._at_end = False

    async def next(self) -> Asked | None:
        """The next request; `None` when there is none left, or nobody wants any more."""
        async with self._reading:
            while not self._block and not self._at_end:
                self._block = await asyncio.to_thread(self._read_block)
        return self._block.popleft() if self._block else None

    def stop(self) -> None:
        """Hand out nothing more."""
        self._at_end = True
        self._block.clear()

    def _read_block(self) -> deque[Asked]:
        """The next requests that are to be sent. Empty while settled rows are passed over, and at the end."""
        block: deque[Asked] = deque()
        size = 0
        for _ in range(_BLOCK_ROWS):
            asked = next(self._requests, None)
            if asked is None:
                self._at_end = True
                break
            self.rows += 1
            if self._settled(asked.index, asked.digest):
                self.skipped += 1
                continue
            block.append(asked)
            size += asked.size
            if size >= _BLOCK_BYTES:
                break
        return block
