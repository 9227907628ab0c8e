"""Embeddings: texts as vectors that lie the nearer, the more words and parts of words they share."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import anyio.to_thread
import msgspec
from starlette.responses import Response

from together_flows.emulator.gate import Call, Group
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.replies import json_reply
from together_flows.emulator.serving import serve
from together_flows.emulator.tokens import words

group = Group()

_DIMENSIONS = {"BAAI/bge-large-en-v1.5": 1024, "intfloat/multilingual-e5-large-instruct": 1024}
_USUAL_DIMENSIONS = 768
_PART_WEIGHT = 0.3
"""What a part of a word counts beside the whole word."""


class EmbeddingRequest(msgspec.Struct):
    """The body."""

    model: str
    input: str | list[str]


@group.post("/embeddings")
async def create(call: Call) -> Response:
    """A vector for each text."""
    request = await call.read(EmbeddingRequest)
    served = serve(call.world, request.model)
    if served.base.type != "embedding":
        raise Refusal(400, f"Model {request.model} is a {served.base.type} model.", param="model")
    texts = [request.input] if isinstance(request.input, str) else request.input
    if not texts:
        raise Refusal(400, "input must not be empty.", param="input")
    size = _DIMENSIONS.get(served.base.id, _USUAL_DIMENSIONS)
    vectors = await anyio.to_thread.run_sync(lambda: [embed(text, size) for text in texts])
    data = [{"object": "embedding", "embedding": vector, "index": index} for index, vector in enumerate(vectors)]
    return json_reply({"object": "list", "model": request.model, "data": data})


def embed(text: str, size: int) -> list[float]:
    """The text as a vector of length 1, or of zeros for a text without words."""
    vector = [0.0] * size
    for word in words(text):
        for place, weight in _features(word):
            vector[place % size] += weight
    length = math.sqrt(sum(value * value for value in vector))
    return [round(value / length, 7) for value in vector] if length else vector


@lru_cache(maxsize=50_000)
def _features(word: str) -> list[tuple[int, float]]:
    parts = {f" {word} "[i : i + 3] for i in range(len(word))}
    return [_hashed(word, 1.0), *(_hashed(f"~{part}", _PART_WEIGHT) for part in sorted(parts))]


def _hashed(feature: str, weight: float) -> tuple[int, float]:
    digest = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest())
    return digest >> 1, weight if digest & 1 else -weight
