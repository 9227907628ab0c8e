"""Sending again only what came to nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.datasets.files import answer, error, read_lines, write_lines
from together_flows.datasets import BatchInput, merge_results, read_marker, repair_input
from together_flows.errors import ArgumentInvalid, DatasetInvalid


@pytest.fixture
def batch(tmp_path: Path) -> BatchInput:
    rows = [{"custom_id": name, "prompt": f"prompt {name}", "label": name.upper()} for name in "abcdef"]
    return BatchInput.from_rows(rows, tmp_path / "batch", model="m", marker="first", max_rows=2)


def requests_of(batch: BatchInput) -> list[dict[str, Any]]:
    return [line for shard in batch.shards for line in read_lines(shard.path)]


def test_failed_and_missing_rows_are_sent_again_and_fill_the_gaps(batch: BatchInput, tmp_path: Path) -> None:
    merged = tmp_path / "merged.jsonl"
    outputs = [write_lines(tmp_path / "out-0", [answer(name) for name in "fbc"])]
    errors = [write_lines(tmp_path / "err-0", [error("a"), error("e")])]
    merge_results(batch, outputs, errors, merged)

    repair = repair_input(batch, merged, tmp_path / "repair", marker="second")
    assert repair is not None
    assert requests_of(repair) == [line for line in requests_of(batch) if line["custom_id"] in "ade"]
    assert [shard.rows for shard in repair.shards] == [2, 1]
    assert [read_marker(shard.path) for shard in repair.shards] == ["second", "second"]
    assert [row.columns for row in repair.read_rows()] == [{"label": "A"}, {"label": "D"}, {"label": "E"}]

    outputs.append(write_lines(tmp_path / "out-1", [answer("d"), answer("a")]))
    errors.append(write_lines(tmp_path / "err-1", [error("e", "still no")]))
    summary = merge_results(batch, outputs, errors, merged)
    assert (summary.rows, summary.succeeded, summary.failed, summary.missing) == (6, 5, 1, 0)
    assert read_lines(merged)[4]["error"]["message"] == "still no"

    last = repair_input(batch, merged, tmp_path / "last")
    assert last is not None
    assert [line["custom_id"] for line in requests_of(last)] == ["e"]


def test_nothing_to_repair_gives_none_and_writes_nothing(batch: BatchInput, tmp_path: Path) -> None:
    output = write_lines(tmp_path / "out", [answer(name) for name in "abcdef"])
    merge_results(batch, [output], [], tmp_path / "merged.jsonl")
    assert repair_input(batch, tmp_path / "merged.jsonl", tmp_path / "repair") is None
    assert not (tmp_path / "repair").exists()


def test_a_merge_of_some_rows_repairs_only_those(batch: BatchInput, tmp_path: Path) -> None:
    output = write_lines(tmp_path / "out", [answer("b")])
    merge_results(batch, [output], [], tmp_path / "merged.jsonl", wanted=["b", "d", "e"])
    repair = repair_input(batch, tmp_path / "merged.jsonl", tmp_path / "repair")
    assert repair is not None
    assert [line["custom_id"] for line in requests_of(repair)] == ["d", "e"]


@pytest.mark.parametrize(
    "line",
    [
        "{broken",
        {"custom_id": "z", "index": 0, "status": "missing"},
        {"custom_id": "b", "index": 0, "status": "missing"},
        {"custom_id": "a", "index": 99, "status": "missing"},
    ],
)
def test_a_file_that_was_not_merged_from_the_batch_is_refused(batch: BatchInput, tmp_path: Path, line: object) -> None:
    merged = write_lines(tmp_path / "merged.jsonl", [line])
    with pytest.raises(DatasetInvalid, match="was not merged from this batch: line 1"):
        repair_input(batch, merged, tmp_path / "repair")
    assert not (tmp_path / "repair").exists()


def test_a_repair_may_not_replace_its_batch(batch: BatchInput, tmp_path: Path) -> None:
    merge_results(batch, [], [], tmp_path / "merged.jsonl")
    with pytest.raises(ArgumentInvalid, match="holds the batch itself"):
        repair_input(batch, tmp_path / "merged.jsonl", batch.directory)
