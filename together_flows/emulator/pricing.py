"""What fine-tuning costs in the emulator.

The service charges by tokens (epochs x training tokens + evaluations x validation tokens) at a price that depends on
the size of the model and the method, and never less than four dollars. The prices per token are the emulator's own.
"""

from __future__ import annotations

from together_flows.emulator.catalogue import BaseModel

__all__ = ["MINIMUM_PRICE", "NANO", "fine_tune_price"]

MINIMUM_PRICE = 4.0
"""US dollars that a fine-tune costs at least."""

NANO = 10**9
"""Nano-dollars in a dollar: the unit of `total_price`."""

_LORA_PER_MILLION = ((16.0, 0.48), (69.0, 1.50), (float("inf"), 2.90))
"""US dollars per million tokens by the largest model, in billions of parameters, that they apply to."""

_FULL_FACTOR = 1.125
_DPO_FACTOR = 2.5


def fine_tune_price(model: BaseModel, *, tokens: int, full: bool, dpo: bool) -> float:
    """US dollars for training on so many tokens."""
    per_million = next(price for billions, price in _LORA_PER_MILLION if model.billions <= billions)
    if full:
        per_million *= _FULL_FACTOR
    if dpo:
        per_million *= _DPO_FACTOR
    return max(MINIMUM_PRICE, round(per_million * tokens / 1e6, 9))
