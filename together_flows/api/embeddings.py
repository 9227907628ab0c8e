"""Embeddings: texts as vectors."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from together_flows.api._inference import Usage
from together_flows.api._model import Answer, Name, Rows
from together_flows.api._operation import operation

__all__ = ["Embedding", "Embeddings", "create"]


class Embedding(Answer):
    """A vector, and the position of its text in the input."""

    object: str = "embedding"
    index: int
    embedding: Sequence[float] = Field(repr=False)


class Embeddings(Answer):
    """The vectors of all texts."""

    object: str = "list"
    model: str | None = None
    data: Rows[Embedding]
    usage: Usage | None = None


@operation("POST", "/embeddings", repeatable=True)
def create(*, model: Name, input: str | Sequence[str]) -> Embeddings:
    """Turn one text or several into vectors. Texts are billed by the token.

    Args:
        model: embedding model.
        input: a text, or several.

    Raises:
        NotFound: there is no such model.
        RateLimited: too many requests.
    """
