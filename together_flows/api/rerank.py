"""Reranking: documents in the order in which they answer a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from together_flows.api._inference import Usage
from together_flows.api._model import Answer, Name, Rows
from together_flows.api._operation import operation

__all__ = ["Ranked", "Ranking", "create"]


class Ranked(Answer):
    """A document's position in the request, and how well it answers the query: higher is better."""

    index: int
    relevance_score: float | None = None
    document: Mapping[str, Any] | None = None


class Ranking(Answer):
    """The documents, best first."""

    id: str = ""
    object: str = "rerank"
    model: str | None = None
    results: Rows[Ranked]
    usage: Usage | None = None


@operation("POST", "/rerank", repeatable=True)
def create(
    *,
    model: Name,
    query: str,
    documents: Sequence[str] | Sequence[Mapping[str, Any]],
    top_n: Annotated[int, Field(ge=1)] | None = None,
    return_documents: bool | None = None,
    rank_fields: Sequence[str] | None = None,
) -> Ranking:
    """Rank documents by how well they answer a query. Tokens are billed.

    Args:
        model: reranking model.
        query: what is looked for.
        documents: texts, or objects; all of one kind.
        top_n: answer only with this many, the best.
        return_documents: answer with the documents too.
        rank_fields: fields of the objects to rank by; all unless given.
    """
