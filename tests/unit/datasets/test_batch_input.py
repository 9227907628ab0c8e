"""Writing a batch: rows of every sort, limits, ids, and opening it again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.datasets.files import read_lines, request, write_lines
from together_flows.datasets import BatchInput, Problem, batch_writer, read_marker, salt, validate
from together_flows.datasets.checker import EXACT_ROWS
from together_flows.errors import ArgumentInvalid, DatasetInvalid

USER = {"role": "user", "content": "Hello"}


def lines_of(batch: BatchInput) -> list[dict[str, Any]]:
    return [line for shard in batch.shards for line in read_lines(shard.path)]


def problems_of(rows: object, folder: Path, **arguments: Any) -> tuple[Problem, ...]:
    with pytest.raises(DatasetInvalid) as caught:
        BatchInput.from_rows(rows, folder, **arguments)  # type: ignore[arg-type]  # also rows that are wrong
    return caught.value.problems  # type: ignore[return-value]  # the error knows them as objects


def test_whole_requests_bodies_prompts_and_strings_become_requests(tmp_path: Path) -> None:
    rows: list[Any] = [
        request("mine", "one"),
        {"messages": [USER], "temperature": 0.5},
        {"custom_id": "third", "prompt": "three", "label": "x"},
        "four",
    ]
    batch = BatchInput.from_rows(rows, tmp_path / "b", model="org/default")
    assert lines_of(batch) == [
        request("mine", "one"),
        {"custom_id": "row-000000001", "body": {"model": "org/default", "messages": [USER], "temperature": 0.5}},
        request("third", "three", model="org/default"),
        request("row-000000003", "four", model="org/default"),
    ]
    assert batch.rows == 4
    assert batch.models == ("org/model", "org/default")
    assert [row.columns for row in batch.read_rows()] == [None, None, {"label": "x"}, None]


def test_rows_say_what_holds_and_arguments_fill_the_gaps(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Own words."}
    rows: list[Any] = [
        {"prompt": "one"},
        {"messages": [system, USER], "model": "org/own", "max_tokens": 5},
        {"messages": [USER]},
    ]
    batch = BatchInput.from_rows(
        rows, tmp_path, model="org/default", system="Be brief.", defaults={"max_tokens": 9, "seed": 1}
    )
    default_system = {"role": "system", "content": "Be brief."}
    one = {"role": "user", "content": "one"}
    bodies = [line["body"] for line in lines_of(batch)]
    assert bodies == [
        {"model": "org/default", "max_tokens": 9, "seed": 1, "messages": [default_system, one]},
        {"model": "org/own", "max_tokens": 5, "seed": 1, "messages": [system, USER]},
        {"model": "org/default", "max_tokens": 9, "seed": 1, "messages": [default_system, USER]},
    ]


def test_shards_keep_to_the_limits_and_know_their_place(tmp_path: Path) -> None:
    batch = BatchInput.from_rows((f"prompt {i}" for i in range(25)), tmp_path, model="m", max_rows=10, name="night")
    assert [(shard.path.name, shard.rows, shard.first_row) for shard in batch.shards] == [
        ("night-00000.jsonl", 10, 0),
        ("night-00001.jsonl", 10, 10),
        ("night-00002.jsonl", 5, 20),
    ]
    for shard in batch.shards:
        content = shard.path.read_bytes()
        assert shard.bytes == len(content)
        assert shard.sha256 == hashlib.sha256(content).hexdigest()
        assert validate(shard.path, purpose="batch-api").ok
    assert [line["custom_id"] for line in lines_of(batch)] == [f"row-{i:09d}" for i in range(25)]


def test_shards_keep_to_the_limit_of_bytes_with_the_marker(tmp_path: Path) -> None:
    line = len(json.dumps(request("row-000000000", "x" * 50), separators=(",", ":"))) + 1
    marker = 1 + 8 * 4
    arguments: dict[str, Any] = {"model": "org/model", "marker": "m", "max_bytes": 2 * line + marker}
    batch = BatchInput.from_rows(["x" * 50] * 5, tmp_path / "a", **arguments)
    assert [(shard.rows, shard.bytes) for shard in batch.shards] == [(2, 2 * line + marker)] * 2 + [(1, line + marker)]
    narrow = BatchInput.from_rows(["x" * 50] * 5, tmp_path / "c", **arguments | {"max_bytes": 2 * line + marker - 1})
    assert [shard.rows for shard in narrow.shards] == [1] * 5
    problem = problems_of(["x" * 50, "x" * (51 + line)], tmp_path / "b", **arguments)[0]
    assert problem.line == 2
    assert "a shard takes" in problem.message


def test_a_full_shard_leaves_room_for_a_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_writer, "MAX_FILE_BYTES", 3000)
    batch = BatchInput.from_rows(["x" * 100] * 50, tmp_path / "a", model="m", max_bytes=3000)
    for shard in batch.shards[:-1]:
        assert shard.bytes > 2000
        salt(shard.path, tmp_path / "marked.jsonl", "m" * 64)
        assert (tmp_path / "marked.jsonl").stat().st_size <= 3000


def test_every_shard_is_marked_and_still_good(tmp_path: Path) -> None:
    batch = BatchInput.from_rows(["a"] * 5, tmp_path / "a", model="m", marker="run-17", max_rows=2)
    assert [read_marker(shard.path) for shard in batch.shards] == ["run-17"] * 3
    assert all(validate(shard.path, purpose="batch-api").ok for shard in batch.shards)
    again = BatchInput.from_file(batch.shards[0].path, tmp_path / "b", marker="run-18")
    assert read_marker(again.shards[0].path) == "run-18"
    assert lines_of(again) == lines_of(batch)[:2]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i}", "label": i} for i in range(300)]
    for name in ("a", "b"):
        BatchInput.from_rows(rows, tmp_path / name, model="m", marker="x", max_rows=100)
    contents = [{path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())} for name in ("a", "b")]
    assert contents[0] == contents[1]
    assert set(contents[0]) == {f"batch-0000{i}.jsonl" for i in range(3)} | {"batch.rows", "batch.index", "batch.json"}


def test_a_batch_is_opened_again_as_it_was_written(tmp_path: Path) -> None:
    written = BatchInput.from_rows(["a", "b"], tmp_path, model="m", marker="x")
    assert BatchInput.load(tmp_path) == written
    index = BatchInput.load(tmp_path).index()
    assert [index.row_of(name) for name in ("row-000000000", "row-000000001", "row-000000002")] == [0, 1, None]


def test_all_problems_are_told_and_nothing_is_written(tmp_path: Path) -> None:
    rows = [
        {"prompt": ""},
        {"prompt": 5},
        {"question": "?"},
        request("a"),
        request("a"),
        {"custom_id": "x" * 65, "messages": [{"role": "bot", "content": "a"}]},
        7,
        {"body": "a"},
        {"messages": [USER], "stop": {object()}},
        {"prompt": "\ud800"},
    ]
    found = problems_of(rows, tmp_path)
    assert [(problem.line, problem.column) for problem in found] == [
        (1, "prompt"),
        (2, "prompt"),
        (3, ""),
        (5, "custom_id"),
        (6, "custom_id"),
        (6, "body.model"),
        (6, "body.messages[0].role"),
        (7, ""),
        (8, "body"),
        (9, ""),
        (10, ""),
    ]
    assert list(tmp_path.iterdir()) == []


def test_an_id_that_is_made_and_one_that_is_given_may_not_clash(tmp_path: Path) -> None:
    problem = problems_of(["a", "b", request("row-000000001")], tmp_path, model="m")[0]
    assert (problem.line, problem.column) == (3, "custom_id")
    assert "line 2" in problem.message


def test_no_rows_are_a_problem(tmp_path: Path) -> None:
    assert problems_of([], tmp_path)[0].message == "There are no rows."


def test_rows_that_fail_midway_leave_nothing_behind(tmp_path: Path) -> None:
    def rows() -> Iterator[str]:
        yield "a"
        raise OSError("the source broke")

    with pytest.raises(OSError, match="the source broke"):
        BatchInput.from_rows(rows(), tmp_path, model="m")
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_is_replaced_leaves_no_stale_shards_and_a_failed_one_leaves_the_old(tmp_path: Path) -> None:
    BatchInput.from_rows(["a"] * 5, tmp_path, model="m", max_rows=1, name="old")
    problems_of(["a", ""], tmp_path, model="m")
    assert BatchInput.load(tmp_path).rows == 5
    BatchInput.from_rows(["b"], tmp_path, model="m", name="new")
    assert {path.name for path in tmp_path.iterdir()} == {"batch.json", "new-00000.jsonl", "new.rows", "new.index"}


def test_a_folder_without_a_whole_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentInvalid, match="holds no batch"):
        BatchInput.load(tmp_path)
    for name in ("batch-00000.jsonl", "batch.index", "batch.rows"):
        BatchInput.from_rows(["a"], tmp_path, model="m")
        (tmp_path / name).unlink()
        with pytest.raises(ArgumentInvalid, match=f"{name} is missing or has changed"):
            BatchInput.load(tmp_path)
    BatchInput.from_rows(["a"], tmp_path, model="m").shards[0].path.write_bytes(b"")
    with pytest.raises(ArgumentInvalid, match="missing or has changed"):
        BatchInput.load(tmp_path)
    (tmp_path / "batch.json").write_text("{")
    with pytest.raises(ArgumentInvalid, match="holds no batch"):
        BatchInput.load(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "../evil"},
        {"name": ".hidden"},
        {"name": ""},
        {"max_rows": 0},
        {"max_rows": 50_001},
        {"max_bytes": 0},
        {"max_bytes": 100_000_001},
        {"marker": "two words"},
        {"endpoint": "/v1/audio/transcriptions", "system": "Be brief."},
    ],
)
def test_arguments_that_do_not_fit_are_refused(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentInvalid):
        BatchInput.from_rows(["a"], tmp_path / "b", model="m", **arguments)
    assert not (tmp_path / "b").exists()


def test_nan_counts_as_no_value(tmp_path: Path) -> None:
    batch = BatchInput.from_rows([{"prompt": "a", "label": math.nan}], tmp_path, model="m")
    assert next(batch.read_rows()).columns == {"label": None}


def test_other_endpoints_take_bodies_as_they_are(tmp_path: Path) -> None:
    body = {"model": "openai/whisper-large-v3", "file": "https://example.com/a.wav"}
    batch = BatchInput.from_rows([{"body": body}], tmp_path / "a", endpoint="/v1/audio/transcriptions")
    assert lines_of(batch) == [{"custom_id": "row-000000000", "body": body}]
    assert batch.endpoint == "/v1/audio/transcriptions"
    found = problems_of(["a"], tmp_path / "b", model="m", endpoint="/v1/audio/transcriptions")
    assert found[0].column == "prompt"


def test_complete_lines_of_a_file_are_taken_byte_for_byte(tmp_path: Path) -> None:
    rows = [f'{{"custom_id" : "{i}",  "body": {{"model":"m","messages":[{{"role":"user","content":"é"}}],"x":1.50}}}}'
            for i in range(2 * EXACT_ROWS)]  # fmt: skip
    source = write_lines(tmp_path / "in.jsonl", rows)
    batch = BatchInput.from_file(source, tmp_path / "b", model="other")
    assert batch.shards[0].path.read_bytes() == source.read_bytes()


def test_a_file_of_mixed_rows_is_filled_in(tmp_path: Path) -> None:
    rows = [request(f"{i}") for i in range(2 * EXACT_ROWS)]
    rows.append({"prompt": "late", "label": 1})
    rows.append({"custom_id": "openai", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [USER]}})
    source = write_lines(tmp_path / "in.jsonl", ["", *rows])
    batch = BatchInput.from_file(source, tmp_path / "b", model="org/model")
    late, openai = lines_of(batch)[-2:]
    assert late == request(f"row-{2 * EXACT_ROWS:09d}", "late")
    assert openai == request("openai")
    assert [row.columns for row in batch.read_rows()][-2:] == [{"label": 1}, None]


def test_problems_of_a_file_name_its_lines(tmp_path: Path) -> None:
    repeated = (
        '{"custom_id": "a", "custom_id": "b", "body": {"model": "m", "messages": [{"role": "user", "content": ""}]}}'
    )
    source = write_lines(tmp_path / "in.jsonl", ["", request("x"), "{broken", "", request("x"), repeated])
    with pytest.raises(DatasetInvalid) as caught:
        BatchInput.from_file(source, tmp_path / "b")
    assert [(problem.line, problem.column) for problem in caught.value.problems] == [  # type: ignore[attr-defined]  # they are problems
        (3, ""),
        (5, "custom_id"),
        (6, "custom_id"),
    ]
    assert "line 2." in str(caught.value)


def test_marked_shards_that_were_joined_keep_none_of_their_old_markers(tmp_path: Path) -> None:
    rows = [request(f"{i}") for i in range(3 * EXACT_ROWS)]
    marked = BatchInput.from_rows(rows, tmp_path / "a", marker="old", max_rows=EXACT_ROWS)
    plain = BatchInput.from_rows(rows, tmp_path / "b")
    joined = tmp_path / "joined.jsonl"
    joined.write_bytes(b"".join(shard.path.read_bytes() for shard in marked.shards))
    again = BatchInput.from_file(joined, tmp_path / "c")
    assert again.shards[0].path.read_bytes() == plain.shards[0].path.read_bytes()


def test_a_csv_file_gives_prompts_and_keeps_its_other_columns(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text('\ufeffcustom_id,prompt,label\nfirst,"a, b",x\n,c,y\n', encoding="utf-8")
    batch = BatchInput.from_file(source, tmp_path / "b", model="org/model")
    assert lines_of(batch) == [request("first", "a, b"), request("row-000000001", "c")]
    assert [row.columns for row in batch.read_rows()] == [{"label": "x"}, {"label": "y"}]
    source.write_text("prompt,label\na\n")
    with pytest.raises(DatasetInvalid, match="line 2: The record has 1 cells"):
        BatchInput.from_file(source, tmp_path / "c", model="m")


def test_a_file_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentInvalid, match=r"\.jsonl or a \.csv"):
        BatchInput.from_file(write_lines(tmp_path / "in.txt", ["a"]), tmp_path / "b")
