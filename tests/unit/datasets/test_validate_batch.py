"""Batch input files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.datasets.files import only_problem, places, request, write_lines
from together_flows.datasets import Report, batch_lines, validate
from together_flows.datasets.checker import EXACT_ROWS

USER = {"role": "user", "content": "Hello"}


def check(path: Path, *rows: object, **arguments: Any) -> Report:
    return validate(write_lines(path / "batch.jsonl", rows), purpose="batch-api", **arguments)


def test_a_good_file_tells_its_models_and_tokens(tmp_path: Path) -> None:
    rows = [request(f"{number}", "word " * 8, model=f"org/model-{number % 2}") for number in range(300)]
    report = check(tmp_path, *rows)
    assert report.ok
    assert report.format == "batch"
    assert report.models == ("org/model-0", "org/model-1")
    assert report.approximate_tokens == 300 * (10 + 4)


def body(**members: Any) -> dict[str, Any]:
    return {"custom_id": "a", "body": {"model": "m", "messages": [USER]} | members}


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        ({"body": body()["body"]}, "custom_id", "no custom_id"),
        ({**body(), "custom_id": 5}, "custom_id", "a number, not a string"),
        ({**body(), "custom_id": ""}, "custom_id", "0 characters"),
        ({**body(), "custom_id": "x" * 65}, "custom_id", "65 characters"),
        ({"custom_id": "a"}, "body", "no body"),
        ({"custom_id": "a", "body": []}, "body", "an array, not an object"),
        (body(model=None), "body.model", "null is not a model"),
        (body(model=""), "body.model", '"" is not a model'),
        (body(messages=[]), "body.messages", "empty"),
        (body(messages="Hello"), "body.messages", "a string, not a list"),
        (body(messages=[{"role": "bot", "content": "a"}]), "body.messages[0].role", '"bot" is not a role'),
        (body(messages=[{"role": "user"}]), "body.messages[0]", 'no "content"'),
        (body(messages=[{"role": "assistant", "tool_calls": []}]), "body.messages[0]", 'no "content"'),
        ({"custom_id": "a", "body": {"messages": [USER]}}, "body.model", "names no model"),
        ({"custom_id": "a", "body": {"model": "m"}}, "body.messages", "no messages"),
    ],
)
def test_each_rule_names_its_place(tmp_path: Path, row: object, column: str, words: str) -> None:
    for before in (0, EXACT_ROWS):
        problem = only_problem(check(tmp_path, *(request(f"row-{number}") for number in range(before)), row))
        assert (problem.line, problem.column) == (before + 1, column)
        assert words in problem.message


@pytest.mark.parametrize(
    "row",
    [
        {**body(), "custom_id": "é" * 64},
        body(messages=[USER, USER], temperature=0.5, stop=["x"]),
        body(messages=[{"role": "user", "content": [{"type": "text", "text": "a"}]}]),
        body(messages=[{"role": "assistant", "tool_calls": [{"id": "1"}]}]),
        {**body(), "method": "POST", "url": "/v1/chat/completions"},
    ],
)
def test_what_the_endpoint_takes_is_taken(tmp_path: Path, row: object) -> None:
    assert check(tmp_path, row).ok


@pytest.mark.parametrize("before", [0, 2 * EXACT_ROWS])
def test_a_repeated_id_names_both_lines(tmp_path: Path, before: int) -> None:
    rows = [request(f"{number}") for number in range(before)]
    problem = only_problem(check(tmp_path, *rows, request("x"), request("y"), request("x")))
    assert (problem.line, problem.column) == (before + 3, "custom_id")
    assert f"line {before + 1}." in problem.message


def test_the_limits_on_lines_and_bytes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_lines, "MAX_REQUESTS", 10)
    monkeypatch.setattr("together_flows.datasets.validation.MAX_FILE_BYTES", 500)
    report = check(tmp_path, *(request(f"{number}") for number in range(11)))
    assert [problem.line for problem in report.problems] == [0, 0]
    assert "11 requests" in report.problems[0].message
    assert "a batch takes" in report.problems[1].message
    assert all("BatchInput" in problem.mend for problem in report.problems)


def test_other_endpoints_need_no_messages(tmp_path: Path) -> None:
    row = {"custom_id": "a", "body": {"model": "openai/whisper-large-v3", "file": "https://example.com/a.wav"}}
    assert not check(tmp_path, row).ok
    assert check(tmp_path, row, endpoint="/v1/audio/transcriptions").ok


def test_all_problems_of_a_line_are_told(tmp_path: Path) -> None:
    report = check(tmp_path, {"custom_id": "", "body": {"messages": [{"role": 1}]}})
    assert places(report) == [
        (1, "custom_id"),
        (1, "body.model"),
        (1, "body.messages[0].role"),
        (1, "body.messages[0]"),
    ]
