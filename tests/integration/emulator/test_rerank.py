"""Rerank: the nearest document first."""

from __future__ import annotations

from typing import Any

import pytest

from .account import Account

RANKER = "Salesforce/Llama-Rank-V1"

DOCUMENTS = [
    {"title": "Panda", "text": "The giant panda is a bear that lives in China."},
    {"title": "Llama", "text": "The llama is an animal of South America, found in Peru and Bolivia."},
    {"title": "Invoice", "text": "Payment is due within thirty days."},
]


def rank(account: Account, **request: Any) -> list[dict[str, Any]]:
    body = {"model": RANKER, "query": "What animals can I find in Peru?", "documents": DOCUMENTS} | request
    answer = account.post("/rerank", body)
    assert answer["object"] == "rerank"
    assert answer["usage"]["total_tokens"] > 20
    return list(answer["results"])


def test_the_most_similar_document_comes_first_with_falling_scores(account: Account) -> None:
    results = rank(account)
    scores = [result["relevance_score"] for result in results]

    assert results[0]["index"] == 1
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 2 * scores[-1]


def test_only_as_many_results_as_wanted_with_their_documents_when_wanted(account: Account) -> None:
    texts = [document["text"] for document in DOCUMENTS]
    (best,) = rank(account, top_n=1, return_documents=True, documents=texts)
    (silent,) = rank(account, top_n=1)

    assert best["document"]["text"] == texts[1]
    assert silent["document"]["text"] is None


def test_only_the_rank_fields_count(account: Account) -> None:
    results = rank(account, query="Invoice", rank_fields=["title"])

    assert results[0]["index"] == 2
    assert results[0]["relevance_score"] > 0.5


@pytest.mark.parametrize(
    "request_", [{"documents": []}, {"documents": "text"}, {"top_n": 0}, {"rank_fields": ["author"]}, {"unknown": 1}]
)
def test_a_rerank_that_cannot_be_is_refused(account: Account, request_: dict[str, Any]) -> None:
    body = {"model": RANKER, "query": "x", "documents": DOCUMENTS} | request_

    assert account.http.post("/rerank", json=body).status_code == 400
