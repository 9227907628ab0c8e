"""Evaluations: the judge reads each row, and a model that has learned scores higher."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .account import BASE_MODEL, CAPITALS, Account

ROWS = [
    {"prompt": f"Please tell me the capital of {country}", "reference": f"The capital of {country} is {capital}."}
    for country, capital in CAPITALS.items()
]
JUDGE = {"model": BASE_MODEL, "model_source": "serverless", "system_template": "Compare with {{ reference }}"}
SCORE = {"min_score": 0, "max_score": 10, "pass_threshold": 7}
CLASSIFY = {"labels": ["right", "wrong"], "pass_labels": ["right"]}


def model(name: str = BASE_MODEL, **more: Any) -> dict[str, Any]:
    return {
        "model": name,
        "model_source": "serverless",
        "system_template": "Be brief.",
        "input_template": "{{ prompt }}",
        "max_tokens": 100,
        "temperature": 0,
    } | more


def create(account: Account, kind: str, rows: list[Any] | None = None, **parameters: Any) -> Any:
    file_id = account.upload_rows(rows or ROWS, "eval")
    body = {"type": kind, "parameters": {"judge": JUDGE, "input_data_file_path": file_id} | parameters}
    return account.http.post("/evaluation", json=body)


def evaluate(account: Account, kind: str, rows: list[Any] | None = None, **parameters: Any) -> dict[str, Any]:
    created = create(account, kind, rows, **parameters).raise_for_status().json()
    assert created["status"] == "pending"
    path = f"/evaluation/{created['workflow_id']}"
    account.until(f"{path}/status", lambda job: job["status"] in ("completed", "error", "user_error"))
    return dict(account.get(path))


def test_a_tuned_model_scores_above_its_base(account: Account) -> None:
    tuned = account.tuned_model()
    base_score, tuned_score = (
        evaluate(account, "score", **SCORE, model_to_evaluate=model(name))["results"]["aggregated_scores"]
        for name in (BASE_MODEL, tuned)
    )

    assert base_score["mean_score"] < 4
    assert (tuned_score["mean_score"], tuned_score["pass_percentage"]) == (10, 100)
    assert base_score["std_score"] > 0


def test_labels_are_counted_in_a_json_string(account: Account) -> None:
    results = evaluate(account, "classify", **CLASSIFY, model_to_evaluate=model())["results"]

    assert isinstance(results["label_counts"], str)
    assert json.loads(results["label_counts"]) == {"right": 0, "wrong": 5}
    assert (results["pass_percentage"], results["invalid_label_count"]) == (0, 0)


def test_an_answer_that_is_a_label_gets_that_label(account: Account) -> None:
    rows = [{"mood": "Happy", "reference": "x"}, {"mood": "sad", "reference": "x"}, {"mood": "meh", "reference": "meh"}]
    results = evaluate(
        account, "classify", rows, labels=["happy", "sad"], pass_labels=["happy"], model_to_evaluate="mood"
    )["results"]

    assert json.loads(results["label_counts"]) == {"happy": 2, "sad": 1}


def test_a_comparison_counts_wins_under_capital_names(account: Account) -> None:
    tuned = account.tuned_model()
    results = evaluate(account, "compare", model_a=model(tuned), model_b=model())["results"]
    tie = evaluate(account, "compare", model_a=model(), model_b=model())["results"]

    assert (results["A_wins"], results["B_wins"], results["Ties"], results["num_samples"]) == (5, 0, 0, 5)
    assert tie["Ties"] == 5


def test_a_column_can_stand_for_a_models_answers(account: Account) -> None:
    rows = [{"answer": "Paris", "reference": "Paris"}, {"answer": "London", "reference": "Paris"}]
    results = evaluate(account, "score", rows, **SCORE, model_to_evaluate="answer")["results"]

    assert results["aggregated_scores"]["mean_score"] == 5


def test_the_result_file_has_every_row_with_answer_verdict_and_feedback(account: Account) -> None:
    results = evaluate(account, "score", **SCORE, model_to_evaluate=model())["results"]
    rows = account.lines(results["result_file_id"])

    assert [{key: row[key] for key in ("prompt", "reference")} for row in rows] == ROWS
    assert all({"output", "score", "passed", "feedback"} <= set(row) for row in rows)
    mean = sum(row["score"] for row in rows) / len(rows)
    assert mean == pytest.approx(results["aggregated_scores"]["mean_score"], abs=1e-3)


def test_rows_that_cannot_be_rendered_are_counted_not_hidden(account: Account) -> None:
    rows = [*ROWS[:2], {"prompt": "no reference here"}]
    lenient = JUDGE | {"system_template": "{{ reference }}"}
    broken = model(input_template="{{ prompt }}{{ 1 / (prompt | length - 17) }}")
    judged = evaluate(account, "score", rows, judge=lenient, **SCORE, model_to_evaluate=model())["results"]

    assert (judged["judge_fail_count"], judged["failed_samples"]) == (1, 1)
    assert "judging failed" in account.lines(judged["result_file_id"])[2]["error"]
    generated = evaluate(account, "score", rows, judge=lenient, **SCORE, model_to_evaluate=broken)["results"]
    assert generated["generation_fail_count"] == 1


def test_a_template_cannot_reach_out_of_its_sandbox(account: Account) -> None:
    escape = model(input_template="{{ prompt }}{{ ''.__class__.__mro__ }}")
    results = evaluate(account, "score", **SCORE, model_to_evaluate=escape)["results"]

    assert results["generation_fail_count"] == len(ROWS)


def test_parameters_are_echoed_word_for_word_without_their_secrets(account: Account) -> None:
    marker = "Judge it. {# run 4711 #} {{ reference }}\n"
    judge = JUDGE | {"system_template": marker, "model_source": "external", "external_api_token": "secret-1"}
    external = model("openai/gpt-5", model_source="external", external_api_token="secret-2")
    job = evaluate(account, "score", judge=judge, **SCORE, model_to_evaluate=external)

    assert job["parameters"]["judge"]["system_template"] == marker
    assert job["parameters"]["input_data_file_path"].startswith("file-")
    assert "secret" not in json.dumps([job, account.get("/evaluation"), account.emulator.jobs()])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row | {"extra": 1} for row in ROWS], "used by no template"),
        ([{"prompt": "only"}], "does not have: ['reference']"),
    ],
)
def test_columns_must_be_used_and_used_columns_must_be_there(account: Account, rows: list[Any], words: str) -> None:
    job = evaluate(account, "score", rows, **SCORE, model_to_evaluate=model())

    assert job["status"] == "user_error"
    assert words in job["results"]["error"]


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("score", SCORE | {"input_data_file_path": "file-none"}),
        ("score", SCORE | {"min_score": 10}),
        ("score", SCORE | {"pass_threshold": 11}),
        ("score", SCORE | {"pass_threshold": None}),
        ("score", SCORE | {"judge": {"model": BASE_MODEL}}),
        ("score", SCORE | {"judge": JUDGE | {"model": "no/such"}}),
        ("score", SCORE | {"judge": JUDGE | {"model_source": "external"}}),
        ("score", SCORE | {"judge": JUDGE | {"num_workers": 0}}),
        ("score", SCORE | {"judge": JUDGE | {"system_template": "{{ open"}}),
        ("score", SCORE | {"model_to_evaluate": {"model": BASE_MODEL}}),
        ("score", SCORE | {"model_to_evaluate": model(max_tokens=0)}),
        ("score", SCORE | {"model_to_evaluate": model(temperature=3)}),
        ("classify", {"labels": ["one"], "pass_labels": ["one"]}),
        ("classify", CLASSIFY | {"pass_labels": ["other"]}),
        ("classify", CLASSIFY | {"pass_labels": []}),
        ("compare", {"model_a": model()}),
        ("grade", {}),
    ],
)
def test_parameters_that_cannot_be_are_refused(account: Account, kind: str, parameters: dict[str, Any]) -> None:
    answer = create(account, kind, **parameters)

    assert answer.status_code == 400, answer.text
    assert account.emulator.counts()["created"]["evaluation"] == 0


def test_a_csv_is_evaluated_like_json_lines(account: Account) -> None:
    file = account.upload(b"prompt,reference\nWhat?,That\n", "eval", "rows.csv")
    parameters = SCORE | {"judge": JUDGE, "input_data_file_path": file["id"], "model_to_evaluate": model()}
    created = account.post("/evaluation", {"type": "score", "parameters": parameters})
    path = f"/evaluation/{created['workflow_id']}/status"
    results = account.until(path, lambda job: job["status"] == "completed")["results"]

    assert account.lines(results["result_file_id"])[0]["prompt"] == "What?"


def test_the_list_shows_the_newest_ten_unless_asked_for_more_and_never_over_a_hundred(account: Account) -> None:
    file_id = account.upload_rows(ROWS, "eval")
    parameters = SCORE | {"judge": JUDGE, "input_data_file_path": file_id, "model_to_evaluate": model()}
    body = {"type": "score", "parameters": parameters}
    ids = [account.post("/evaluations", body)["workflow_id"] for _ in range(102)]

    assert [row["workflow_id"] for row in account.get("/evaluations")] == ids[:-11:-1]
    assert len(account.get("/evaluation", limit=50)) == 50
    assert len(account.get("/evaluation", limit=1000)) == 100
    account.emulator.force("evaluation", ids[0], "error", "Broken")
    (failed,) = account.get("/evaluation", status="error")
    assert (failed["workflow_id"], failed["results"]) == (ids[0], {"error": "Broken"})


def test_models_are_listed_by_source(account: Account) -> None:
    serverless = account.get("/evaluation/model-list", model_source="serverless")["model_list"]
    everything = account.get("/evaluation/model-list")["model_list"]

    assert BASE_MODEL in serverless
    assert set(serverless) < set(everything)
    assert account.http.get("/evaluation/model-list", params={"model_source": "moon"}).status_code == 400
