"""Merging results: the order of the input, every row accounted for, nothing dropped silently."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from tests.unit.datasets.files import answer, error, read_lines, request, write_lines
from together_flows.datasets import BatchInput, MergeSummary, merge_results
from together_flows.errors import ArgumentInvalid


@pytest.fixture
def batch(tmp_path: Path) -> BatchInput:
    return BatchInput.from_rows([request(name) for name in "abcdef"], tmp_path / "batch", max_rows=2)


def merge(batch: BatchInput, *files: list[object], **arguments: Any) -> tuple[list[dict[str, Any]], MergeSummary]:
    folder = batch.directory.parent
    paths = [write_lines(folder / f"result-{number}.jsonl", rows) for number, rows in enumerate(files)]
    summary = merge_results(batch, paths, [], folder / "merged.jsonl", **arguments)
    return read_lines(folder / "merged.jsonl"), summary


def statuses(lines: list[dict[str, Any]]) -> dict[str, str]:
    return {line["custom_id"]: line["status"] for line in lines}


def test_rows_come_in_the_order_of_the_input_with_answers_errors_and_gaps(batch: BatchInput) -> None:
    lines, summary = merge(
        batch,
        [answer("e"), answer("b", "B!")],
        [error("a", "no luck", "bad")],
        [answer("d", status_code=429, body={"error": {"message": "slow down", "code": "rate_limit"}})],
    )
    assert [(line["index"], line["custom_id"]) for line in lines] == list(enumerate("abcdef"))
    assert lines[0] == {
        "custom_id": "a",
        "index": 0,
        "status": "failed",
        "response": None,
        "error": {"message": "no luck", "code": "bad"},
        "status_code": None,
    }
    assert lines[1] == {
        "custom_id": "b",
        "index": 1,
        "status": "succeeded",
        "response": answer("b", "B!")["response"]["body"],
        "error": None,
        "status_code": 200,
    }
    assert (lines[2]["status"], lines[2]["response"], lines[2]["error"]) == ("missing", None, None)
    assert (lines[3]["status"], lines[3]["status_code"]) == ("failed", 429)
    assert lines[3]["error"] == {"message": "slow down", "code": "rate_limit"}
    assert summary == MergeSummary(
        rows=6,
        succeeded=2,
        failed=2,
        missing=2,
        unknown_ids=0,
        duplicates=0,
        corrupt_lines=0,
        prompt_tokens=6,
        completion_tokens=10,
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"custom_id": "a", "error": "just words"}, {"message": "just words", "code": None}),
        ({"custom_id": "a", "error": {"error": {"message": "deep", "code": 5}}}, {"message": "deep", "code": 5}),
        (
            {"custom_id": "a", "response": {"status_code": 500, "body": None}},
            {"message": "The request failed without a message, with HTTP status 500.", "code": None},
        ),
        (
            {"custom_id": "a", "response": {"status_code": 400, "body": {"message": "flat"}}, "error": None},
            {"message": "flat", "code": None},
        ),
        (
            {"custom_id": "a", "response": {"status_code": 200, "body": {}}, "error": {"message": "both"}},
            {"message": "both", "code": None},
        ),
        (
            {"custom_id": "a", "response": {"status_code": 200, "body": None}},
            {"message": "The request failed without a message, with HTTP status 200.", "code": None},
        ),
    ],
)
def test_errors_of_every_shape_become_message_and_code(
    batch: BatchInput, line: dict[str, Any], expected: dict[str, Any]
) -> None:
    lines, summary = merge(batch, [line])
    assert lines[0]["error"] == expected
    assert lines[0]["status"] == "failed"
    assert summary.failed == 1


@pytest.mark.parametrize(
    "response",
    [
        {"status_code": 200, "body": {"text": "no usage"}},
        {"body": {"text": "no status", "usage": None}},
        {"status_code": 200, "body": {"usage": {"prompt_tokens": None}}},
        {"status_code": 200, "body": "just text"},
        {"status_code": 200, "request_id": "r", "body": [1]},
    ],
)
def test_answers_without_usage_are_answers(batch: BatchInput, response: dict[str, Any]) -> None:
    lines, summary = merge(batch, [{"id": "x", "custom_id": "a", "response": response, "error": None}])
    assert lines[0]["response"] == response["body"]
    assert (summary.succeeded, summary.prompt_tokens) == (1, 0)


def test_an_answer_beats_an_error_wherever_they_stand(batch: BatchInput) -> None:
    lines, summary = merge(batch, [error("a"), answer("b")], [answer("a"), error("b")])
    assert statuses(lines)["a"] == statuses(lines)["b"] == "succeeded"
    assert summary.duplicates == 0


def test_the_first_answer_stays_and_the_last_error_tells(batch: BatchInput) -> None:
    lines, summary = merge(
        batch, [answer("a", "first"), error("b", "first")], [answer("a", "second"), error("b", "last")]
    )
    assert lines[0]["response"]["choices"][0]["message"]["content"] == "first"
    assert lines[1]["error"]["message"] == "last"
    assert summary.duplicates == 2
    assert (summary.prompt_tokens, summary.completion_tokens) == (3, 5)  # of the answer that is used
    assert [(problem.line, problem.column) for problem in summary.problems] == [(1, "custom_id"), (2, "custom_id")]
    assert "result-1.jsonl holds one more answer" in summary.problems[0].message


def test_unknown_ids_and_corrupt_lines_are_counted_with_their_places(batch: BatchInput) -> None:
    whole = json.dumps(answer("c")).encode()
    lines, summary = merge(
        batch,
        [answer("a"), answer("stranger"), whole[:-10], b'{"custom_id": "d"}', b"[]", b"", answer("e")],
        [whole.replace(b"Hi", b"\xff")],
    )
    assert (summary.unknown_ids, summary.corrupt_lines) == (1, 4)
    assert sorted(str(problem) for problem in summary.problems) == [
        "line 1: The line of result-1.jsonl cannot be read. Download the file again.",
        'line 2, custom_id: result-0.jsonl is about "stranger", which is not in this batch. '
        "Check that the file belongs to the batch.",
        "line 3: The line of result-0.jsonl cannot be read. Download the file again.",
        "line 4: The line of result-0.jsonl cannot be read. Download the file again.",
        "line 5: The line of result-0.jsonl cannot be read. Download the file again.",
    ]
    assert statuses(lines)["c"] == statuses(lines)["d"] == "missing"
    assert summary.succeeded == 2


def test_the_same_file_given_twice_changes_nothing_but_the_count(batch: BatchInput) -> None:
    rows: list[object] = [answer(name) for name in "abcdef"]
    once, _ = merge(batch, rows)
    twice, summary = merge(batch, rows, rows)
    assert once == twice
    assert summary.duplicates == 6


def test_columns_that_were_not_sent_come_back(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": "a", "label": 1}, {"prompt": "b", "label": {"deep": [2]}}, {"prompt": "c"}]
    labelled = BatchInput.from_rows(rows, tmp_path / "batch", model="m")
    lines, _ = merge(labelled, [answer("row-000000000"), error("row-000000002")])
    assert [line.get("columns") for line in lines] == [{"label": 1}, {"label": {"deep": [2]}}, None]
    assert "columns" not in lines[2]


def test_only_wanted_rows_are_written_and_counted(batch: BatchInput) -> None:
    rows: list[object] = [answer("a"), answer("b"), answer("stranger"), error("e")]
    lines, summary = merge(batch, rows, wanted={"b", "c", "e"})
    assert statuses(lines) == {"b": "succeeded", "c": "missing", "e": "failed"}
    assert [line["index"] for line in lines] == [1, 2, 4]
    assert (summary.rows, summary.prompt_tokens, summary.unknown_ids) == (3, 3, 1)
    with pytest.raises(ArgumentInvalid, match='1 of the ids are not in the batch, such as "x"'):
        merge(batch, rows, wanted=["a", "x"])


def test_a_missing_result_file_leaves_the_old_merge_alone(batch: BatchInput, tmp_path: Path) -> None:
    target = write_lines(tmp_path / "merged.jsonl", ["old"])
    with pytest.raises(ArgumentInvalid, match="no such file"):
        merge_results(batch, [tmp_path / "nowhere.jsonl"], [], target)
    assert target.read_bytes() == b"old\n"


def highest_open_file() -> int:
    """Of this process, which may run many other tests."""
    probe = os.dup(0)
    os.close(probe)
    return max(probe, *(int(path.name) for path in Path("/dev/fd").iterdir()))


def test_more_files_than_may_be_open_at_once_are_merged(tmp_path: Path) -> None:
    wide = BatchInput.from_rows((f"{i}" for i in range(200)), tmp_path / "batch", model="m")
    files = [[answer(f"row-{199 - i:09d}", f"text {i}")] for i in range(200)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest_open_file() + 150, hard))
    try:
        lines, summary = merge(wide, *files)  # type: ignore[arg-type]  # a list of dicts is one of objects
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert summary.succeeded == 200
    texts = [line["response"]["choices"][0]["message"]["content"] for line in lines]
    assert texts == [f"text {199 - i}" for i in range(200)]


def test_the_summary_is_small_json(batch: BatchInput) -> None:
    _, summary = merge(batch, [answer(f"unknown-{i}") for i in range(500)])
    told = json.loads(json.dumps(summary.to_dict()))
    assert told["unknown_ids"] == 500
    assert told["missing"] == 6
    assert len(told["problems"]) == 20
    assert len(summary.problems) == 500
