"""What rows cost by the models' list prices: before they are sent, and while they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from together_flows.api import models
from together_flows.client import AsyncTogether
from together_flows.datasets.tokens import tokens_of, utf8_length
from together_flows.errors import ArgumentInvalid, BudgetExceeded, TogetherError
from together_flows.inference.requests import Asked
from together_flows.jobs.pricing import PriceEstimate

__all__ = ["PRICED_BY_TOKEN", "Meter", "PriceList", "check_priced", "estimate", "price_list"]

PRICED_BY_TOKEN = frozenset({"chat.create", "completions.create", "embeddings.create", "rerank.create"})
"""The operations whose price the API lists. What pictures, sound and videos cost it does not list."""

_READ = ("messages", "prompt", "input", "query", "documents")


@dataclass(frozen=True)
class PriceList:
    """List prices: US dollars for a million tokens that are read and written, by model."""

    by_model: Mapping[str, tuple[float, float]]

    def usd(self, model: str, prompt_tokens: int, completion_tokens: int) -> float | None:
        """The price of so many tokens; `None` for a model without a list price."""
        if model not in self.by_model:
            return None
        read, written = self.by_model[model]
        return (prompt_tokens * read + completion_tokens * written) / 1_000_000


async def price_list(client: AsyncTogether) -> PriceList:
    """The list prices that the API tells."""
    found = {}
    for item in await client.send(models.list()):
        pricing = item.pricing
        read, written = (_get(pricing, name) for name in ("input", "output"))
        if read is not None or written is not None:
            found[item.id] = (float(read or 0.0), float(written or 0.0))
    return PriceList(found)


def estimate(requests: Iterable[Asked], prices: PriceList) -> PriceEstimate:
    """What requests cost at most: prompts as they are, answers at `max_tokens`, and not at all where that is missing.

    Raises:
        TogetherError: a model has no list price.
    """
    usd, tokens = 0.0, 0
    for asked in requests:
        if asked.arguments is None:
            continue
        model, read = _model(asked), _tokens_read(asked)
        written = int(asked.arguments.get("max_tokens") or 0) * int(asked.arguments.get("n") or 1)
        price = prices.usd(model, read, written)
        if price is None:
            raise TogetherError(
                f"The API lists no price of {model!r}.", mend="Leave out the budget to go on without knowing the price."
            )
        usd += price
        tokens += read + written
    return PriceEstimate(usd, f"at most {tokens} tokens at list price", tokens=tokens)


class Meter:
    """Counts what was spent, and says when the budget is used up.

    Attributes:
        usd: US dollars so far, as far as prices are known.

    Args:
        prices: list prices; `None` if they are not known.
        budget: US dollars that may be spent; no limit by default.
    """

    def __init__(self, prices: PriceList | None, budget: float | None = None) -> None:
        self.usd = 0.0
        self._prices = prices
        self._budget = budget

    def price(self, asked: Asked, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars for an answer; 0 where no price is known. An answer that counts nothing is estimated."""
        if self._prices is None:
            return 0.0
        read = prompt_tokens or _tokens_read(asked)
        return self._prices.usd(_model(asked), read, completion_tokens) or 0.0

    def add(self, usd: float) -> BudgetExceeded | None:
        """Count something that was spent; the error to stop with when it was too much."""
        self.usd += usd
        if self._budget is None or self.usd <= self._budget:
            return None
        return BudgetExceeded(
            f"The rows have cost ${self.usd:.2f} so far, above the budget of ${self._budget:.2f}. What was answered "
            "is kept; nothing more was sent.",
            estimate=self.usd,
            budget=self._budget,
            mend="Raise the budget: the next attempt goes on from here. Set max_tokens to know the price before.",
        )


def check_priced(operation: str) -> None:
    """Refuse a budget where no price is known.

    Raises:
        ArgumentInvalid: the API lists no price of such work.
    """
    if operation not in PRICED_BY_TOKEN:
        raise ArgumentInvalid(
            f"budget: the API lists no price for {operation}.", mend="Leave it out, and bound the work with max_rows."
        )


def _model(asked: Asked) -> str:
    return str((asked.arguments or {}).get("model"))


def _tokens_read(asked: Asked) -> int:
    return tokens_of(sum(_text_bytes((asked.arguments or {}).get(name)) for name in _READ))


def _text_bytes(value: Any) -> int:
    match value:
        case str():
            return utf8_length(value)
        case Mapping():
            return sum(_text_bytes(member) for member in value.values())
        case list() | tuple():
            return sum(_text_bytes(member) for member in value)
        case _:
            return 0


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
