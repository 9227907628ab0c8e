"""From rows to operations."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from together_flows.errors import ArgumentInvalid, DatasetInvalid
from together_flows.inference.requests import MODALITIES, Asked, RowTemplate
from together_flows.inference.rows import Row, check_rows, count_rows, read_rows


def asked(operation: str, row: Any, **template: Any) -> Asked:
    made = RowTemplate(operation, **{"model": "m", **template}).ask(Row(3, row))
    assert not made.problem, made.problem
    return made


def body(made: Asked) -> Any:
    assert made.operation is not None
    return made.operation.body


@pytest.mark.parametrize(
    ("operation", "template", "sent"),
    [
        ("chat.create", {}, {"messages": [{"role": "user", "content": "hello"}]}),
        ("completions.create", {}, {"prompt": "hello"}),
        ("embeddings.create", {}, {"input": "hello"}),
        ("rerank.create", {"defaults": {"documents": ["a"]}}, {"query": "hello", "documents": ["a"]}),
        ("images.generate", {}, {"prompt": "hello", "response_format": "base64"}),
        ("audio.create_speech", {"defaults": {"voice": "v"}}, {"input": "hello", "voice": "v"}),
        ("videos.create", {}, {"prompt": "hello"}),
    ],
)
def test_a_text_becomes_the_argument_that_the_operation_is_about(
    operation: str, template: dict[str, Any], sent: dict[str, Any]
) -> None:
    made = asked(operation, "hello", **template)
    assert body(made) == {"model": "m", **sent}
    assert made.custom_id == "row-000000003"


@pytest.mark.parametrize("operation", ["audio.create_transcription", "audio.create_translation"])
def test_a_text_names_the_recording_to_listen_to(operation: str) -> None:
    made = asked(operation, "talk.wav")
    assert made.operation is not None
    assert made.operation.parts == {"file": Path("talk.wav")}


def test_what_a_row_says_wins_over_what_holds_for_all() -> None:
    row = {"input": "hello", "model": "own"}
    assert body(asked("embeddings.create", row, defaults={"model": "all"}))["model"] == "own"


def test_what_is_no_argument_is_not_sent_and_comes_back() -> None:
    made = asked("embeddings.create", {"custom_id": "a", "input": "hello", "shelf": 4})
    assert made.custom_id == "a"
    assert made.columns == {"shelf": 4}
    assert body(made) == {"model": "m", "input": "hello"}


def test_rows_of_a_batch_mean_here_what_they_mean_there() -> None:
    line = {"custom_id": "a", "method": "POST", "url": "/x", "body": {"messages": [{"role": "user", "content": "h"}]}}
    made = asked("chat.create", line)
    assert made.custom_id == "a"
    assert made.columns is None
    assert body(made)["messages"] == line["body"]["messages"]  # type: ignore[index] # of a mixed literal
    prompted = asked("chat.create", {"prompt": "h", "temperature": 1}, system="Be brief.")
    assert [message["role"] for message in body(prompted)["messages"]] == ["system", "user"]
    assert prompted.columns == {"temperature": 1}


@pytest.mark.parametrize("row", [{}, {"prompt": ""}, {"prompt": 3}, 7, {"body": "x"}, {"messages": "x"}, ""])
def test_a_row_that_cannot_be_sent_says_why(row: Any) -> None:
    made = RowTemplate("chat.create", model="m").ask(Row(0, row))
    assert made.operation is None
    assert made.problem


def test_a_streamed_answer_is_refused_for_one_row_and_for_all() -> None:
    made = RowTemplate("completions.create", model="m").ask(Row(0, {"prompt": "h", "stream": True}))
    assert "stream" in made.problem
    with pytest.raises(ArgumentInvalid, match="stream"):
        RowTemplate("completions.create", defaults={"stream": True})


def test_a_misspelled_default_is_refused_before_any_row() -> None:
    with pytest.raises(ArgumentInvalid, match="max_tokens"):
        RowTemplate("chat.create", defaults={"max_token": 3})


def test_an_operation_that_is_not_about_rows_is_refused() -> None:
    with pytest.raises(ArgumentInvalid, match=r"chat\.create"):
        RowTemplate("files.list")
    assert len(MODALITIES) == 9


def test_equal_requests_have_equal_digests_and_others_have_not() -> None:
    first = asked("chat.create", "hello", defaults={"max_tokens": 5, "seed": 1})
    assert first.digest == asked("chat.create", {"prompt": "hello"}, defaults={"seed": 1, "max_tokens": 5}).digest
    assert first.digest != asked("chat.create", "hello", defaults={"max_tokens": 6, "seed": 1}).digest
    assert asked("completions.create", "h").digest != asked("images.generate", "h").digest


def test_rows_are_the_same_from_memory_and_from_files(tmp_path: Path) -> None:
    rows = [{"prompt": f"number {n}, “quoted”", "shelf": str(n)} for n in range(5)]
    lines = tmp_path / "rows.jsonl"
    lines.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    table = tmp_path / "rows.csv"
    table.write_text("prompt,shelf\n" + "".join(f'"{row["prompt"]}",{row["shelf"]}\n' for row in rows))
    for source in (rows, str(lines), table):
        assert [row.value for row in read_rows(source)] == rows
        assert count_rows(source) == 5


def test_a_line_that_cannot_be_read_is_a_row_with_a_problem_and_the_others_are_read(tmp_path: Path) -> None:
    lines = tmp_path / "rows.jsonl"
    lines.write_bytes(b'{"prompt": "a"}\n{"prompt": \n\xff\xfe\n["x"]\n{"prompt": "b"}\n')
    rows = list(read_rows(str(lines)))
    assert [bool(row.problem) for row in rows] == [False, True, True, True, False]
    assert [row.index for row in rows] == [0, 1, 2, 3, 4]


def test_a_value_that_is_missing_in_a_data_frame_is_not_sent() -> None:
    [row] = read_rows([{"prompt": "h", "seed": math.nan}])
    assert row.value == {"prompt": "h", "seed": None}


def test_a_csv_file_whose_records_cannot_be_told_apart_is_refused_whole(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("prompt,shelf\nhello,1\nhello,1,2\n")
    with pytest.raises(DatasetInvalid, match="3 cells"):
        check_rows(str(table))


@pytest.mark.parametrize("name", ["rows.parquet", "rows"])
def test_other_files_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(ArgumentInvalid, match=r"\.jsonl"):
        check_rows(str(tmp_path / name))
