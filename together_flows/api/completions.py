"""Completions: a model continues a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from together_flows.api._inference import (
    Choices,
    LogprobCount,
    LogProbs,
    MaxTokens,
    Penalty,
    PromptPart,
    Remark,
    Share,
    Temperature,
    Usage,
)
from together_flows.api._messages import Delta
from together_flows.api._model import Answer, Name, Rows, Time
from together_flows.api._operation import operation

__all__ = ["Choice", "ChunkChoice", "Completion", "CompletionChunk", "Delta", "LogProbs", "Token", "Usage", "create"]


class Choice(Answer):
    """One of the continuations."""

    index: int | None = None
    text: str | None = None
    finish_reason: str | None = None
    seed: int | None = None
    logprobs: LogProbs | None = None


class Completion(Answer):
    """The continuations of a text."""

    id: str = ""
    object: str = "text.completion"
    created: Time = None
    model: str | None = None
    choices: Rows[Choice]
    prompt: Sequence[PromptPart] = ()
    usage: Usage | None = None
    warnings: Sequence[Remark] = ()


class Token(Answer):
    """A token of a streamed continuation."""

    id: int | None = None
    text: str | None = None
    logprob: float | None = None
    special: bool | None = None


class ChunkChoice(Answer):
    """The next piece of one of the streamed continuations."""

    index: int | None = None
    text: str | None = None
    delta: Delta | None = None
    finish_reason: str | None = None


class CompletionChunk(Answer):
    """One event of a streamed continuation. The last one carries the usage."""

    id: str = ""
    object: str = "completion.chunk"
    created: Time = None
    token: Token | None = None
    choices: Rows[ChunkChoice]
    usage: Usage | None = None
    seed: int | None = None
    finish_reason: str | None = None


@operation("POST", "/completions", repeatable=True, chunk=CompletionChunk)
def create(
    *,
    prompt: str,
    model: Name,
    max_tokens: MaxTokens | None = None,
    stop: Sequence[str] | None = None,
    temperature: Temperature | None = None,
    top_p: Share | None = None,
    top_k: int | None = None,
    repetition_penalty: float | None = None,
    stream: bool | None = None,
    logprobs: LogprobCount | None = None,
    echo: bool | None = None,
    n: Choices | None = None,
    safety_model: str | None = None,
    min_p: Share | None = None,
    presence_penalty: Penalty | None = None,
    frequency_penalty: Penalty | None = None,
    logit_bias: Mapping[str | int, float] | None = None,
    seed: int | None = None,
) -> Completion:
    """Let a model continue a text. Prompt and continuation are billed by the token.

    A request leaves nothing behind, so it may be repeated when its answer was lost; both are billed.

    Args:
        prompt: text to continue.
        model: model to ask.
        max_tokens: tokens to answer with at most.
        stop: texts that end the continuation.
        temperature: randomness, from 0.
        top_p: sample from the likeliest tokens that together have this probability, 0 to 1.
        top_k: sample from this many likeliest tokens.
        repetition_penalty: higher repeats less.
        stream: answer in server-sent events; `Together.stream` sets it.
        logprobs: log probabilities of this many likeliest tokens, 0 to 20.
        echo: answer with the prompt too.
        n: continuations, 1 to 128.
        safety_model: model that moderates the answer.
        min_p: least probability of a token relative to the likeliest, 0 to 1.
        presence_penalty: -2 to 2; higher brings new topics.
        frequency_penalty: -2 to 2; higher repeats words less.
        logit_bias: likelihood added to tokens, by token id.
        seed: the same seed samples the same.

    Raises:
        NotFound: there is no such model.
        RateLimited: too many requests.
    """
