"""Runs a coroutine to its end for code that blocks, also where an event loop runs in the same thread."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["run_blocking"]

T = TypeVar("T")


def run_blocking(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run what a function makes, and answer with its result.

    An interruption, such as Ctrl-C or the exception by which an orchestrator stops a thread, cancels the coroutine and
    is raised when that has ended.

    Args:
        make: makes the coroutine.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    return _in_a_thread(make)


def _in_a_thread(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    outcome: Future[T] = Future()
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = Future()

    async def main() -> T:
        begun.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        return await make()

    def work() -> None:
        try:
            outcome.set_result(asyncio.run(main()))
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="together-rows")
    thread.start()
    try:
        return outcome.result()
    except BaseException:
        loop, task = begun.result()
        if not outcome.done() and task is not None:
            loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        thread.join()
