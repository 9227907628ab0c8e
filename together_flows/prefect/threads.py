"""A thread for what must come to its end, such as ending a job that bills."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from time import monotonic

import anyio

__all__ = ["to_its_end"]

#: Seconds that a cancelled coroutine waits for its thread. Prefect kills the process of a cancelled run after 30.
_LONGEST = 25.0


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
