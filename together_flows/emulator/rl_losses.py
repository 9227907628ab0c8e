"""Losses of reinforcement learning, with their gradients; and sampling from what has been learned."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import NamedTuple

from together_flows.emulator.policy import VOCABULARY, Policy
from together_flows.emulator.rl_requests import (
    ForwardBackwardRequest,
    Grpo,
    SampleRequest,
    SamplingParams,
    TrainingSample,
    whole_numbers,
)

__all__ = ["Failure", "draw", "forward_backward"]

MAX_TOKENS = 200_000
"""Tokens that one operation works on; it takes about a second."""


class Failure(Exception):
    """An operation failed.

    Args:
        code: the last word of the API's error code.
        message: what went wrong.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = f"TRAINING_OPERATION_ERROR_CODE_{code}"
        self.message = message


class _Position(NamedTuple):
    """A token that counts.

    Attributes:
        share: what it counts in the loss.
    """

    before: int
    token: int
    share: float
    advantage: float = 0.0
    generator: float = 0.0
    reference: float = 0.0


def forward_backward(policy: Policy, request: ForwardBackwardRequest) -> tuple[float, dict[str, float]]:
    """Adds a batch to the gradient.

    Returns:
        Its loss, and measurements.

    Raises:
        Failure: the samples do not fit.
    """
    if request.loss.type == "LOSS_TYPE_GRPO":
        return _grpo(policy, request.samples, request.loss.grpo_params)
    return _cross_entropy(policy, request.samples)


def draw(policy: Policy, request: SampleRequest, seed: int) -> list[list[tuple[list[int], list[float], str]]]:
    """Completes prompts.

    Returns:
        For each prompt its completions: tokens, the logarithms of their chances, and why they ended.

    Raises:
        Failure: the prompts do not fit.
    """
    (count,) = whole_numbers([request.num_samples])
    if count < 1:
        raise Failure("INVALID_INPUT", "num_samples must be at least 1.")
    if len(request.prompts) * count * request.sampling_params.max_tokens > MAX_TOKENS:
        raise Failure("RESOURCE_EXHAUSTED", f"One operation samples at most {MAX_TOKENS} tokens.")
    chance = random.Random(seed)  # noqa: S311 - a draw that must be repeatable, not a secret
    prompts = [_checked(prompt.tokens()) for prompt in request.prompts]
    if not all(prompts):
        raise Failure("INVALID_INPUT", "A prompt has no tokens.")
    return [
        [_completion(policy, prompt[-1], request.sampling_params, chance) for _ in range(count)] for prompt in prompts
    ]


def _cross_entropy(policy: Policy, samples: list[TrainingSample]) -> tuple[float, dict[str, float]]:
    positions = [position for row in _positions(samples) for position in row]
    share = 1 / max(1, len(positions))
    surprises = [-policy.logprob(position.before, position.token) for position in positions]
    for position in positions:
        policy.learn(position.before, position.token, -share)
    loss = math.fsum(surprises) * share
    return loss, {"loss/token_count": float(len(positions)), "loss/perplexity": math.exp(min(loss, 700))}


def _grpo(policy: Policy, samples: list[TrainingSample], settings: Grpo) -> tuple[float, dict[str, float]]:
    rows = [list(row) for row in _positions(samples, grpo=settings)]
    positions = [position for row in _shared(rows, settings) for position in row]
    logprobs = [policy.logprob(position.before, position.token) for position in positions]
    loss = kl_sum = 0.0
    high = low = 0
    for position, logprob in zip(positions, logprobs, strict=True):
        ratio = math.exp(max(-20.0, min(20.0, logprob - position.generator)))
        bounded = max(1 - settings.clip_low, min(1 + settings.clip_high, ratio))
        clipped = bounded * position.advantage < ratio * position.advantage
        high, low = high + (clipped and ratio > bounded), low + (clipped and ratio < bounded)
        drift = max(-20.0, min(20.0, position.reference - logprob)) if settings.beta else 0.0
        kl = math.exp(drift) - drift - 1
        kl_sum += kl
        loss += position.share * (settings.beta * kl - min(bounded * position.advantage, ratio * position.advantage))
        slope = settings.beta * (1 - math.exp(drift)) - (0.0 if clipped else ratio * position.advantage)
        policy.learn(position.before, position.token, position.share * slope)
    count = max(1, len(positions))
    metrics = {"loss/clip/high_fraction": high / count, "loss/clip/low_fraction": low / count}
    return loss, metrics | ({"loss/kl_ref/mean": kl_sum / count} if settings.beta else {})


def _positions(samples: list[TrainingSample], grpo: Grpo | None = None) -> Iterator[Iterator[_Position]]:
    """The tokens that count, sample by sample."""
    total = 0
    for sample in samples:
        given, targets = (
            _checked(sample.model_input.tokens()),
            _checked(whole_numbers(sample.loss_inputs.target_tokens.data)),
        )
        total += len(given)
        if total > MAX_TOKENS:
            raise Failure("RESOURCE_EXHAUSTED", f"One operation learns from at most {MAX_TOKENS} tokens.")
        mask = sample.loss_inputs.loss_mask
        counts = whole_numbers(mask.data) if mask else [1] * len(targets)
        details = _details(sample, grpo, len(given)) if grpo else [(0.0, 0.0, 0.0)] * len(given)
        if not len(given) == len(targets) == len(counts) == len(details):
            words = "A sample needs as many targets, mask values and GRPO inputs as tokens"
            raise Failure("INVALID_INPUT", f"{words}; it has {len(given)} tokens and {len(targets)} targets.")
        rows = zip(given, targets, counts, details, strict=True)
        yield (_Position(before, token, 1.0, *detail) for before, token, counted, detail in rows if counted)


def _details(sample: TrainingSample, settings: Grpo, length: int) -> list[tuple[float, float, float]]:
    """Advantage, generator's and reference's logprob of each token."""
    inputs = sample.loss_inputs.grpo_inputs
    if inputs is None:
        raise Failure("INVALID_INPUT", "LOSS_TYPE_GRPO needs grpo_inputs in every sample.")
    if settings.beta and inputs.reference_logprobs is None:
        raise Failure("INVALID_INPUT", "reference_logprobs are needed when beta is above 0.")
    reference = inputs.reference_logprobs.data if inputs.reference_logprobs else [0.0] * length
    columns = (inputs.advantages.data, inputs.generator_logprobs.data, reference)
    if len({len(column) for column in columns}) > 1:
        raise Failure("INVALID_INPUT", "A sample's GRPO inputs differ in length.")
    return list(zip(*columns, strict=True))


def _shared(rows: list[list[_Position]], settings: Grpo) -> list[list[_Position]]:
    """The positions with their share in the loss."""
    total, longest = max(1, sum(map(len, rows))), max(1, *map(len, rows))
    match settings.agg_type.rpartition("TYPE_")[2]:
        case "TOKEN_MEAN":
            shares = [1 / total for _ in rows]
        case "SEQUENCE_MEAN":
            shares = [1 / (len(rows) * max(1, len(row))) for row in rows]
        case _:
            shares = [1 / (len(rows) * longest) for _ in rows]
    return [[position._replace(share=share) for position in row] for row, share in zip(rows, shares, strict=True)]


def _completion(
    policy: Policy, before: int, params: SamplingParams, chance: random.Random
) -> tuple[list[int], list[float], str]:
    tokens: list[int] = []
    logprobs: list[float] = []
    text = ""
    while len(tokens) < params.max_tokens:
        choices = policy.choices(before, temperature=params.temperature, top_p=params.top_p, top_k=params.top_k)
        weights = [count * weight for _, count, weight in choices]
        (picked,) = chance.choices([name for name, _, _ in choices], weights)
        token = picked if picked >= 0 else _unnamed(policy, before, chance)
        tokens.append(token)
        logprobs.append(policy.logprob(before, token))
        text += chr(token)
        if any(stop and text.endswith(stop) for stop in params.stop):
            return tokens, logprobs, "stop"
        before = token
    return tokens, logprobs, "length"


def _unnamed(policy: Policy, before: int, chance: random.Random) -> int:
    """Any token that the row does not name."""
    named = policy.logits.get(before, {})
    while (token := chance.randrange(VOCABULARY)) in named:
        pass
    return token


def _checked(tokens: list[int]) -> list[int]:
    wrong = next((token for token in tokens if not 0 <= token < VOCABULARY), None)
    if wrong is not None:
        raise Failure("INVALID_INPUT", f"There is no token {wrong}; ids go from 0 to {VOCABULARY - 1}.")
    return tokens
