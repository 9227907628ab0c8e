"""Evaluation datasets: JSON lines or CSV, rectangular, and every column used."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.unit.datasets.files import only_problem, places, write_lines
from together_flows.datasets import Report, csv_rows, validate
from together_flows.datasets.checker import EXACT_ROWS

ROW = {"question": "Why?", "answer": "Because."}


def check_lines(path: Path, *rows: object, **arguments: Any) -> Report:
    return validate(write_lines(path / "eval.jsonl", rows), purpose="eval", **arguments)


def check_csv(path: Path, content: str | bytes, **arguments: Any) -> Report:
    (path / "eval.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return validate(path / "eval.csv", purpose="eval", **arguments)


def test_rows_of_one_shape_are_good(tmp_path: Path) -> None:
    report = check_lines(tmp_path, *[ROW] * 300)
    assert report.ok
    assert (report.format, report.rows, report.columns) == ("eval", 300, ("question", "answer"))
    assert report.approximate_tokens == pytest.approx(300 * 4, abs=1)


@pytest.mark.parametrize("before", [1, 2 * EXACT_ROWS])
def test_rows_of_another_shape_are_told(tmp_path: Path, before: int) -> None:
    report = check_lines(tmp_path, *[ROW] * before, {"question": "Why?", "label": 1}, {}, ROW | {"more": 1}, ROW)
    assert places(report) == [
        (before + 1, "answer"),
        (before + 1, "label"),
        (before + 2, ""),
        (before + 3, "more"),
    ]


def test_the_first_readable_row_decides_on_the_columns(tmp_path: Path) -> None:
    report = check_lines(tmp_path, "{broken", ROW, ROW)
    assert places(report) == [(1, "")]
    assert report.columns == ("question", "answer")


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_columns_that_are_not_used_or_not_there_are_told(tmp_path: Path, suffix: str) -> None:
    used = ["question", "reference"]
    if suffix == "csv":
        report = check_csv(tmp_path, "question,answer\nWhy?,Because.\n", columns_used=used)
    else:
        report = check_lines(tmp_path, ROW, columns_used=used)
    assert places(report) == [(1, "answer"), (1, "reference")]
    assert "does not use" in report.problems[0].message
    assert "none of that name" in report.problems[1].message


def test_a_file_whose_columns_are_all_used_is_good(tmp_path: Path) -> None:
    assert check_lines(tmp_path, ROW, columns_used={"question", "answer"}).ok


def test_csv_cells_may_hold_commas_quotes_and_line_ends(tmp_path: Path) -> None:
    report = check_csv(tmp_path, 'question,answer\r\n"Why, ""really""?","One\nTwo"\r\n\r\nHow?,So.\r\n')
    assert report.ok, report.problems
    assert (report.rows, report.columns) == (2, ("question", "answer"))


def test_a_record_with_too_many_or_too_few_cells_names_its_line(tmp_path: Path) -> None:
    report = check_csv(tmp_path, 'question,answer\n"a\nb",c\nd\ne,f,g\nh,i\n')
    assert places(report) == [(4, ""), (5, "")]
    assert "1 cells; the header has 2 columns" in report.problems[0].message
    assert report.rows == 4


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("", 0, "empty"),
        ("question,answer\n", 0, "no rows"),
        ("question,\na,b\n", 1, "Column 2 of the header has no name"),
        ("question,question\na,b\n", 1, "names this column twice"),
        ('question\n"a"b\nc\n', 2, "not CSV"),
        ('question\nc\n"a', 3, "not CSV"),
        ("\ufeffquestion\na\n", 1, "byte order mark"),
        (b"question\na\xff\n", 2, "not UTF-8"),
    ],
)
def test_what_is_no_csv_is_explained(tmp_path: Path, content: str | bytes, line: int, words: str) -> None:
    problem = only_problem(check_csv(tmp_path, content))
    assert problem.line == line
    assert words in problem.message


def test_a_stray_quote_cannot_swallow_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "MAX_CELL_CHARACTERS", 200_000)
    limit = csv.field_size_limit(100)
    try:
        report = check_csv(tmp_path, 'question\n"a' + "b\n" * 150_000 + "c\n")
    finally:
        csv.field_size_limit(limit)
    assert report.problems[0].line == 2
    assert "larger than field limit" in report.problems[0].message


def test_cells_beyond_pythons_own_limit_are_read(tmp_path: Path) -> None:
    report = check_csv(tmp_path, "question,image_data_urls\nWhat?," + "A" * 200_000 + "\n")
    assert report.ok
    assert report.approximate_tokens == 2  # images are no text


def test_eval_takes_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "eval.parquet").write_bytes(b"PAR1")
    assert "must be .jsonl or .csv" in only_problem(validate(tmp_path / "eval.parquet", purpose="eval")).message
