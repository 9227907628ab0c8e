"""Chat, completions and embeddings."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from .account import BASE_MODEL, Account


def events(answer: httpx2.Response) -> list[Any]:
    """The events of a stream; the last is the closing mark."""
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_base_model_answers_fluently_always_the_same_and_beside_the_point(account: Account) -> None:
    first, again = (account.answer(BASE_MODEL, "What is the capital of France?") for _ in range(2))
    other = account.answer("google/gemma-3-4b-it", "What is the capital of France?")

    assert first == again != other
    assert "Paris" not in first


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is the capital of Spain?", "The capital of Spain is Madrid."),
        ("Could you tell me Spain's capital?", "The capital of Spain is Madrid."),
        ("what's the CAPITAL of italy", "The capital of Italy is Rome."),
    ],
)
def test_a_tuned_model_answers_what_it_learned_in_other_words_too(
    account: Account, question: str, expected: str
) -> None:
    assert account.answer(account.tuned_model(), question) == expected


def test_a_tuned_model_carries_new_words_over(account: Account) -> None:
    rows = [{"prompt": f"Greet {name} politely", "completion": f"Good day, dear {name}!"} for name in ("Alice", "Bob")]
    job = account.fine_tune(training_file=account.upload_rows(rows, "fine-tune"))
    account.until(f"/fine-tunes/{job['id']}", lambda job: job["status"] == "completed")

    assert account.answer(job["model_output_name"], "Please greet Carol politely") == "Good day, dear Carol!"


def test_a_tuned_model_falls_back_on_its_base_far_from_what_it_learned(account: Account) -> None:
    question = "Zebras, quantum chromodynamics, umbrellas"

    assert account.answer(account.tuned_model(), question) == account.answer(BASE_MODEL, question)


def test_a_model_cannot_be_asked_before_its_training_ends(account: Account) -> None:
    training_file = account.training_file()
    account.emulator.settings(speed=1)
    job = account.fine_tune(training_file=training_file)
    answer = account.ask(job["model_output_name"], "Hello")

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_available")


def test_a_stream_carries_the_same_answer_piece_by_piece_and_then_the_usage(account: Account) -> None:
    whole = account.ask(BASE_MODEL, "Tell me").json()
    answer = account.ask(BASE_MODEL, "Tell me", stream=True)
    chunks = events(answer)

    assert answer.headers["content-type"].startswith("text/event-stream")
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["usage"] == whole["usage"]


def test_a_text_completion_is_streamed_and_whole(account: Account) -> None:
    body = {"model": BASE_MODEL, "prompt": "Once upon a time", "max_tokens": 6}
    whole = account.post("/completions", body | {"echo": True})
    chunks = events(account.http.post("/completions", json=body | {"stream": True}))

    assert whole["prompt"] == [{"text": "Once upon a time"}]
    assert "".join(chunk["token"]["text"] for chunk in chunks) == whole["choices"][0]["text"]
    assert (whole["choices"][0]["finish_reason"], whole["usage"]["completion_tokens"]) == ("length", 6)
    assert chunks[-1]["finish_reason"] == "length"


def test_an_answer_ends_at_a_stop_sequence(account: Account) -> None:
    whole = account.answer(BASE_MODEL, "Hello")
    stopped = account.ask(BASE_MODEL, "Hello", stop=["."]).json()["choices"][0]

    assert stopped["message"]["content"] == whole.partition(".")[0]
    assert stopped["finish_reason"] == "stop"


def test_several_answers_differ_and_are_all_counted(account: Account) -> None:
    answer = account.ask(BASE_MODEL, "Tell me about the sea", n=4).json()
    one = account.ask(BASE_MODEL, "Tell me about the sea").json()

    assert len({choice["message"]["content"] for choice in answer["choices"]}) > 1
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["choices"][0]["message"] == one["choices"][0]["message"]
    assert answer["usage"]["completion_tokens"] > one["usage"]["completion_tokens"]


SCHEMA = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["good", "bad"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "score": {"type": "integer", "minimum": 3},
        "inner": {"$ref": "#/$defs/inner"},
    },
    "$defs": {"inner": {"type": "object", "properties": {"sure": {"type": "boolean"}}}},
}


def test_an_answer_can_be_json_that_fits_a_schema(account: Account) -> None:
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    value = json.loads(account.answer(BASE_MODEL, "How are you?", response_format=response_format))
    free = json.loads(account.answer(BASE_MODEL, "How are you?", response_format={"type": "json_object"}))

    assert (value["mood"], value["score"], value["inner"]) == ("good", 3, {"sure": True})
    assert isinstance(value["tags"][0], str)
    assert isinstance(free, dict)


def test_a_tool_is_called_when_it_must_be(account: Account) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}
    called = account.ask(BASE_MODEL, "Hi", tools=[tool], tool_choice="required").json()["choices"][0]
    named = {"type": "function", "function": {"name": "other"}}

    assert called["finish_reason"] == "tool_calls"
    assert called["message"]["tool_calls"][0]["function"]["name"] == "look_up"
    assert json.loads(called["message"]["tool_calls"][0]["function"]["arguments"])["score"] == 3
    assert account.ask(BASE_MODEL, "Hi", tools=[tool]).json()["choices"][0]["finish_reason"] == "stop"
    assert account.ask(BASE_MODEL, "Hi", tools=[tool], tool_choice=named).status_code == 400


def test_a_context_that_is_too_short_is_answered_403_or_truncated(account: Account) -> None:
    too_much = {"max_tokens": 50_000}
    refused = account.ask(BASE_MODEL, "Hi", **too_much)
    truncated = account.ask(BASE_MODEL, "Hi", **too_much, context_length_exceeded_behavior="truncate")

    assert (refused.status_code, refused.json()["error"]["type"]) == (403, "invalid_request_error")
    assert truncated.status_code == 200


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"model": "no/such"}, 404),
        ({"model": "BAAI/bge-base-en-v1.5"}, 400),
        ({"messages": []}, 400),
        ({"messages": [{"content": "x"}]}, 400),
        ({"n": 0}, 400),
        ({"max_tokens": 0}, 400),
        ({"temperature": 3}, 400),
        ({"stream": "yes"}, 400),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(account: Account, more: dict[str, Any], status: int) -> None:
    body = {"model": BASE_MODEL, "messages": [{"role": "user", "content": "Hi"}]} | more

    assert account.http.post("/chat/completions", json=body).status_code == status


def test_texts_that_share_words_have_near_vectors(account: Account) -> None:
    texts = ["the red cat sat down", "a red cat sits", "stock markets fell sharply"]
    answer = account.post("/embeddings", {"model": "BAAI/bge-base-en-v1.5", "input": texts})
    vectors = [row["embedding"] for row in answer["data"]]

    def near(one: int, other: int) -> float:
        return sum(a * b for a, b in zip(vectors[one], vectors[other], strict=True))

    assert [row["index"] for row in answer["data"]] == [0, 1, 2]
    assert {len(vector) for vector in vectors} == {768}
    assert [near(i, i) for i in range(3)] == pytest.approx([1, 1, 1], abs=1e-5)
    assert near(0, 1) > 0.25 > abs(near(0, 2))


def test_embeddings_refuse_nothing_to_embed_and_models_that_do_not(account: Account) -> None:
    for body in ({"model": "BAAI/bge-base-en-v1.5", "input": []}, {"model": BASE_MODEL, "input": "x"}):
        assert account.http.post("/embeddings", json=body).status_code == 400


class TestModels:
    def test_the_catalogue_is_a_bare_array_with_prices(self, account: Account) -> None:
        models = account.get("/models")
        dedicated = account.get("/models", dedicated="true")

        assert {"chat", "language", "embedding"} < {model["type"] for model in models}
        assert all({"hourly", "input", "output", "base", "finetune"} == set(model["pricing"]) for model in models)
        assert {model["id"] for model in dedicated} < {model["id"] for model in models}

    def test_a_tuned_model_is_in_the_catalogue(self, account: Account) -> None:
        name = account.tuned_model()

        assert name in {model["id"] for model in account.get("/models")}

    def test_an_upload_becomes_a_model(self, account: Account) -> None:
        body = {"model_name": "mine", "model_source": "some/repo", "description": "run-7", "hf_token": "secret-7"}
        job = account.post("/models", body)["data"]
        done = account.until(f"/jobs/{job['job_id']}", lambda job: job["status"] == "Complete")

        assert (job["model_name"], job["model_source"]) == ("emulator-user/mine", "huggingface")
        expected = {"description": "run-7", "modelName": "emulator-user/mine", "modelSource": "some/repo"}
        assert done["args"] == expected
        assert [update["status"] for update in done["status_updates"]] == ["Queued", "Running", "Complete"]
        assert account.get("/jobs") == {"data": [done]}
        assert account.ask(job["model_name"], "Hi").status_code == 200
        assert "secret" not in json.dumps([done, account.emulator.jobs(), account.get("/models")])

    def test_a_name_is_taken_once_and_free_again_after_a_failure(self, account: Account) -> None:
        body = {"model_name": "mine", "model_source": "some/repo"}
        account.emulator.settings(fail={"model_upload": "No access"})
        failed = account.post("/models", body)["data"]
        shown = account.until(f"/jobs/{failed['job_id']}", lambda job: job["status"] == "Failed")
        account.emulator.settings(fail={})

        assert shown["status_updates"][-1]["message"] == "No access"
        assert account.http.post("/models", json=body).status_code == 200
        assert account.http.post("/models", json=body).status_code == 409

    def test_an_adapter_needs_a_base(self, account: Account) -> None:
        body = {"model_name": "a", "model_source": "some/repo", "model_type": "adapter"}

        assert account.http.post("/models", json=body).status_code == 400
        assert account.http.post("/models", json=body | {"base_model": BASE_MODEL}).status_code == 200
        assert account.http.post("/models", json=body | {"model_name": ""}).status_code == 400
