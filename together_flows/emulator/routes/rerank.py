"""Rerank: documents in the order of their likeness to a query, by the emulator's own embeddings."""

from __future__ import annotations

import uuid
from typing import Any

import anyio.to_thread
import msgspec
from starlette.responses import Response

from together_flows.emulator.gate import Call, Group
from together_flows.emulator.media import serve_type
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.replies import json_reply
from together_flows.emulator.routes.embeddings import embed
from together_flows.emulator.tokens import count_tokens

group = Group()

MAX_DOCUMENTS = 1024

_DIMENSIONS = 1024


class RerankRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body."""

    model: str
    query: str
    documents: list[str | dict[str, Any]]
    top_n: int | None = None
    return_documents: bool = False
    rank_fields: list[str] = msgspec.field(default_factory=list)


@group.post("/rerank")
async def create(call: Call) -> Response:
    """Ranks the documents, most relevant first."""
    request = await call.read(RerankRequest)
    serve_type(call.world, request.model, "rerank")
    if not 1 <= len(request.documents) <= MAX_DOCUMENTS:
        raise Refusal(400, f"documents must hold 1 to {MAX_DOCUMENTS}.", param="documents")
    if request.top_n is not None and request.top_n < 1:
        raise Refusal(400, "top_n must be at least 1.", param="top_n")
    texts = [_text(document, request.rank_fields) for document in request.documents]
    scores = await anyio.to_thread.run_sync(_scores, request.query, texts)
    order = sorted(range(len(texts)), key=lambda index: -scores[index])[: request.top_n]
    tokens = sum(map(count_tokens, texts)) + count_tokens(request.query) * len(texts)
    return json_reply(
        {
            "object": "rerank",
            "id": str(uuid.uuid4()),
            "model": request.model,
            "results": [
                {
                    "index": index,
                    "relevance_score": scores[index],
                    "document": {"text": texts[index] if request.return_documents else None},
                }
                for index in order
            ],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens},
        }
    )


def _text(document: str | dict[str, Any], fields: list[str]) -> str:
    """What of a document is ranked, and shown; of an object it is JSON."""
    if isinstance(document, str):
        return document
    missing = [name for name in fields if name not in document]
    if missing:
        raise Refusal(400, f"A document lacks the rank field {missing[0]!r}.", param="rank_fields")
    chosen = {name: document[name] for name in fields} if fields else document
    return msgspec.json.encode(chosen).decode()


def _scores(query: str, texts: list[str]) -> list[float]:
    """The cosine of each text with the query; 0 for what has nothing to do with it."""
    wanted = [(place, value) for place, value in enumerate(embed(query, _DIMENSIONS)) if value]
    vectors = (embed(text, _DIMENSIONS) for text in texts)
    return [round(max(0.0, sum(value * vector[place] for place, value in wanted)), 6) for vector in vectors]
