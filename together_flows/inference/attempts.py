"""Whether a row is sent again after an error, and when. Pure: the decision is a value."""

from __future__ import annotations

from dataclasses import dataclass, field

from together_flows.client.retry import REFUSED_BEFORE_ANY_EFFECT, Retries, may_repeat
from together_flows.errors import (
    AnswerInvalid,
    ApiError,
    AuthenticationFailed,
    ConfigurationInvalid,
    PaymentRequired,
    TogetherError,
)

__all__ = ["Again", "AttemptPolicy", "Enough", "Halt", "is_refusal"]


@dataclass(frozen=True)
class Again:
    """Send the row again.

    Attributes:
        wait: seconds to wait first.
    """

    wait: float


@dataclass(frozen=True)
class Enough:
    """The row has failed."""


@dataclass(frozen=True)
class Halt:
    """No row can succeed: the key is wrong, or the money is used up."""


@dataclass(frozen=True)
class AttemptPolicy:
    """How patient the sending of one row is.

    Attributes:
        retries: how often a row is sent after failures of its own, and the waits between.
        refusals: how often it may be refused for the rate of all rows; a refusal costs nothing and is no failure.
    """

    retries: Retries = field(default_factory=Retries)
    refusals: int = 50

    def after(self, error: TogetherError, *, failures: int, refusals: int) -> Again | Enough | Halt:
        """What to do after an error.

        Args:
            error: what the last attempt ended with.
            failures: attempts that have failed, with this one; refusals do not count.
            refusals: attempts that were refused before any effect, with this one.
        """
        if isinstance(error, AuthenticationFailed | PaymentRequired | ConfigurationInvalid):
            return Halt()
        if is_refusal(error):  # the governor makes everybody wait, this row too
            return Enough() if refusals > self.refusals else Again(0.0)
        # An answer that cannot be read was paid for. The row is sent again all the same, as if it had been lost.
        if not (may_repeat(error, repeatable=True) or isinstance(error, AnswerInvalid)):
            return Enough()
        if failures >= self.retries.attempts:
            return Enough()
        asked = error.retry_after if isinstance(error, ApiError) else None
        return Again(self.retries.wait(failures, retry_after=asked))


def is_refusal(error: TogetherError) -> bool:
    """Whether the API turned the request away before it had any effect."""
    return isinstance(error, ApiError) and error.status_code in REFUSED_BEFORE_ANY_EFFECT
