"""When to try again, and how long to wait. The decisions are pure; tenacity does the waiting.

Invariants, on which "one job, one bill" rests:

- 429 and 503 were refused before any effect, so they are repeated for every operation.
- A request that certainly never left is repeated for every operation.
- Everything else is repeated only where the operation says that it may be.
- An operation that may not be repeated and whose answer is lost ends as `SubmissionUnknown`, never as an error that
  looks as if nothing had happened.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
)

from together_flows.errors import (
    AnswerInvalid,
    ApiError,
    ArgumentInvalid,
    ConnectionFailed,
    SubmissionUnknown,
    TogetherError,
)

__all__ = ["ONCE", "Retries", "answer_is_lost", "instant_retries", "may_repeat", "verdict"]

log = logging.getLogger(__name__)

REFUSED_BEFORE_ANY_EFFECT = frozenset({429, 503})


def may_repeat(error: BaseException, *, repeatable: bool) -> bool:
    """Whether to send the same request again after this error.

    Args:
        error: what the attempt ended with.
        repeatable: whether sending the request twice is the same as sending it once.
    """
    if isinstance(error, ConnectionFailed):
        return repeatable or not error.sent
    if isinstance(error, ApiError):
        return error.retryable and (repeatable or error.status_code in REFUSED_BEFORE_ANY_EFFECT)
    return False


def answer_is_lost(error: BaseException) -> bool:
    """Whether the server may have done what was asked although the caller cannot know it."""
    if isinstance(error, ConnectionFailed):
        return error.sent
    if isinstance(error, ApiError):
        return error.status_code >= 500 and error.status_code not in REFUSED_BEFORE_ANY_EFFECT
    return isinstance(error, AnswerInvalid)


def verdict(error: TogetherError, *, name: str, repeatable: bool) -> TogetherError:
    """What to raise when no further attempt is made: the error itself, or that the outcome is unknown."""
    if repeatable or not answer_is_lost(error):
        return error
    return SubmissionUnknown(
        f"{name}: it is not known whether this took effect, for the answer was lost ({error.message})",
        mend="It was not sent again, because that could bill twice. Look for its result on the server first.",
    )


@dataclass(frozen=True)
class Retries:
    """How patient a client is.

    The wait before attempt n+1 is drawn from the upper half of `first * 2**(n-1)` seconds, at most `longest`. A
    `Retry-After` from the server replaces it.

    Attributes:
        attempts: how often one request is sent at most; 1 means never again.
        first: seconds before the second attempt.
        longest: most seconds between two attempts, unless the server asks for more.
        total: seconds after which no further attempt starts. A longer `Retry-After` is left to the caller.
    """

    attempts: int = 5
    first: float = 0.5
    longest: float = 30.0
    total: float = 120.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first < 0 or self.longest < 0 or self.total < 0:
            raise ArgumentInvalid("Retries: attempts must be at least 1, and all times 0 seconds or more.")

    def wait(self, attempt: int, *, retry_after: float | None = None, chance: float | None = None) -> float:
        """Seconds to wait after the given attempt, counted from 1.

        Args:
            attempt: the attempt that just failed.
            retry_after: seconds that the server asked for.
            chance: a number from 0 to 1 in place of a random one.
        """
        chance = random.random() if chance is None else chance  # noqa: S311 - it spreads load, it guards nothing
        if retry_after is not None:
            return retry_after + chance * self.first  # so that many clients do not come back in the same instant
        bound = min(self.longest, self.first * 2.0 ** min(attempt - 1, 60))
        return bound * (1 + chance) / 2

    def driver(self, name: str, *, repeatable: bool, sleep: Callable[[float], None] | None = None) -> Retrying:
        """What runs one request with its retries.

        Args:
            name: how logs call the request; nothing secret.
            repeatable: whether sending it twice is the same as sending it once.
            sleep: waits the given seconds; `time.sleep` by default.
        """
        return Retrying(sleep=sleep or _sleep, **self._rules(name, repeatable))

    def async_driver(self, name: str, *, repeatable: bool) -> AsyncRetrying:
        """The same as `driver`, for a coroutine function."""
        return AsyncRetrying(sleep=_async_sleep, **self._rules(name, repeatable))

    def _rules(self, name: str, repeatable: bool) -> dict[str, Any]:
        return {
            "stop": stop_after_attempt(self.attempts) | stop_before_delay(self.total),
            "wait": lambda state: self.wait(state.attempt_number, retry_after=_asked(state)),
            "retry": retry_if_exception(lambda error: may_repeat(error, repeatable=repeatable)),
            "before_sleep": lambda state: _tell(name, state),
            "reraise": True,
        }


#: For callers that decide on their own about a second attempt.
ONCE = Retries(attempts=1)


def _asked(state: RetryCallState) -> float | None:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after if isinstance(error, ApiError) else None


def _tell(name: str, state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    reason = f"HTTP {error.status_code}" if isinstance(error, ApiError) else getattr(error, "message", error)
    log.warning("%s: %s; trying again in %.1f s (attempt %d)", name, reason, state.upcoming_sleep, state.attempt_number)


# Whether waits pass at once. One flag for the process and not one a context, because servers and clients under test
# run in several threads.
_instant = False


@contextmanager
def instant_retries() -> Iterator[None]:
    """For tests: inside this context retries happen, but the waits between them take no time.

    Every decision stays as it is, and so do the logged seconds; only the sleeping is left out, in all threads.
    """
    global _instant
    before, _instant = _instant, True
    try:
        yield
    finally:
        _instant = before


def waits_are_instant() -> bool:
    """Whether `instant_retries` is in force."""
    return _instant


def _sleep(seconds: float) -> None:
    if not _instant:
        time.sleep(seconds)


def _async_sleep(seconds: float) -> Awaitable[None]:
    return asyncio.sleep(0 if _instant else seconds)
