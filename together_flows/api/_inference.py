"""What the inference groups share: bounds of sampling parameters, token usage and log probabilities.

The bounds are those that the API's reference states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from together_flows.api._model import Answer

__all__ = [
    "Choices",
    "LogProbs",
    "LogprobCount",
    "MaxTokens",
    "Penalty",
    "PromptPart",
    "Remark",
    "Share",
    "Temperature",
    "TopLogprobs",
    "Usage",
]

MaxTokens = Annotated[int, Field(ge=0)]
Temperature = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
LogprobCount = Annotated[int, Field(ge=0, le=20)]
Choices = Annotated[int, Field(ge=1, le=128)]

TopLogprobs = Mapping[str, float] | Sequence[Mapping[str, float]]


class Usage(Answer):
    """Tokens that a request took."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class LogProbs(Answer):
    """Log probabilities, token by token: natural logarithms."""

    tokens: Sequence[str | None] = ()
    token_ids: Sequence[int | None] = ()
    token_logprobs: Sequence[float | None] = ()
    top_logprobs: TopLogprobs | None = None


class PromptPart(Answer):
    """The prompt, when it was asked for with `echo`."""

    text: str | None = None
    logprobs: LogProbs | None = None


class Remark(Answer):
    """A remark of the API on the request."""

    message: str = ""
