"""Threads for what must come to its end, such as ending a job that bills."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from time import monotonic
from typing import TypeVar

import anyio

__all__ = ["for_each", "to_its_end"]

T = TypeVar("T")

#: Threads at a time. What they do is a few requests each, and waiting.
_AT_ONCE = 8
#: Seconds that a cancelled coroutine waits for its thread. Prefect kills the process of a cancelled run after 30.
_LONGEST = 25.0


def for_each(items: Iterable[T], work: Callable[[T], None]) -> None:
    """Do the work for each item, 8 at a time, in the context of the caller, and wait for all of it.

    Args:
        items: what to work on.
        work: must not raise: what it raises is lost.
    """
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="together-each") as threads:
        for item in items:
            threads.submit(copy_context().run, work, item)


async def to_its_end(work: Callable[[], object]) -> None:
    """Do blocking work in a thread, and wait for it, however often this coroutine is cancelled meanwhile.

    For the time after a cancellation, which the caller passes on afterwards. A shield of anyio holds off only anyio's
    own cancellations, not those of asyncio, such as the one at the end of `asyncio.run` that meets every coroutine
    still there. A thread can be cancelled by nobody, and the interpreter waits for it before it ends.

    Raises:
        Exception: what the work raises.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="together-end")
    thread = asyncio.get_running_loop().run_in_executor(pool, copy_context().run, work)
    pool.shutdown(wait=False)
    until = monotonic() + _LONGEST
    with anyio.CancelScope(shield=True):
        while not thread.done() and (left := until - monotonic()) > 0:
            with suppress(asyncio.CancelledError):
                await asyncio.wait([thread], timeout=left)
    if thread.done():
        thread.result()
