"""Reading whole lists from the Prefect server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

__all__ = ["every"]

T = TypeVar("T")


def every(read: Callable[[int], Sequence[T]]) -> Iterator[T]:
    """Everything that a list holds, however few rows the server is set up to give in one answer.

    Args:
        read: reads from an offset on.
    """
    offset = 0
    while page := read(offset):
        offset += len(page)
        yield from page
