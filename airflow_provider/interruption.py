"""How a task learns that it is to stop, without breaking what must not be broken.

Airflow calls ``on_kill`` from a signal handler, in the middle of whatever the main thread does, and lets the main
thread go on afterwards. Two places must not be cut through: a conversation with the supervisor, whose answers carry no
address, so that a half-read one would be taken for the next; and the creation of a paid job, whose id would be lost.
Everywhere else waiting any longer would waste the few seconds until SIGKILL. So the code says where it may be
interrupted; anywhere else the request is kept until the next such place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

__all__ = ["Interruption", "TaskKilled"]

P = ParamSpec("P")
T = TypeVar("T")


class TaskKilled(BaseException):
    """The task was told to stop. Like ``KeyboardInterrupt`` it is no error that code in between should handle."""


class Interruption:
    """Whether a task was told to stop, and whether it may be stopped right here."""

    def __init__(self) -> None:
        self._requested = False
        self._open = False

    def request(self) -> None:
        """Called by the signal handler, in the main thread."""
        self._requested = True
        if self._open:
            self._open = False
            raise TaskKilled

    def check(self) -> None:
        """Stop here if that was asked for."""
        if self._requested:
            raise TaskKilled

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """A stretch of code that may be interrupted at any instruction."""
        self._open = True
        try:
            self.check()
            yield
        finally:
            self._open = False

    def shielded(self, function: Callable[P, T]) -> Callable[P, T]:
        """The function, made safe to call from such a stretch: it runs to its end before a request counts."""

        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            was_open, self._open = self._open, False
            try:
                answer = function(*args, **kwargs)
            finally:
                self._open = was_open
            if was_open:
                self.check()
            return answer

        return call
