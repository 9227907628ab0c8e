"""What can be wrong with a file whatever it is for: encoding, line ends, JSON, size; and what the report says of it."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path

import pytest

from tests.unit.datasets.files import only_problem, places, write_lines
from together_flows.datasets import lines, validate
from together_flows.datasets.lines import LineReader
from together_flows.errors import ArgumentInvalid, DatasetInvalid

TEXT = b'{"text": "Hello"}'


def test_the_report_tells_the_size_and_the_hash_of_the_file(tmp_path: Path) -> None:
    content = (TEXT + b"\n") * 200_000  # more than a few blocks
    (tmp_path / "train.jsonl").write_bytes(content)
    report = validate(tmp_path / "train.jsonl", purpose="fine-tune")
    assert report.ok
    assert report.bytes == len(content)
    assert report.sha256 == hashlib.sha256(content).hexdigest()
    assert report.rows == 200_000
    assert report.path == str(tmp_path / "train.jsonl")


@pytest.mark.parametrize(
    "content",
    [
        TEXT,  # no line end at the end
        TEXT + b"\r\n" + TEXT + b"\r\n",
        b"\n\n" + TEXT + b"\n  \n" + TEXT + b"\n\n\n",
        b'  {"text": "\xc3\xa4"}  \n',
    ],
)
def test_line_ends_blank_lines_and_spaces_do_no_harm(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "train.jsonl").write_bytes(content)
    report = validate(tmp_path / "train.jsonl", purpose="fine-tune")
    assert report.ok, report.problems
    assert report.rows == content.count(b"text")


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", 0, "The file is empty"),
        (b"\n\n", 0, "The file holds no rows"),
        (b"\xef\xbb\xbf" + TEXT, 1, "byte order mark"),
        (TEXT.decode().encode("utf-16"), 0, "UTF-16"),
        (TEXT + b'\n{"text": "\xff"}\n', 2, "not UTF-8"),
        (b'[{"text": "a"},\n {"text": "b"}\n]', 1, "one JSON array, not JSON lines"),
        (b'[{"text": "a"}]', 1, "an array where an object belongs"),
        (b'"text"', 1, "a string where an object belongs"),
        (TEXT + b" " + TEXT, 1, "Something follows"),
        (TEXT + b",\n", 1, "Something follows"),
        (TEXT[:-3], 1, "ends in the middle of a value"),
        (b"{'text': 'Hello'}", 1, "not JSON"),
        (b'{"text": "a", "text": "b"}', 1, "more than once"),
        (b'{"text": "\x00"}', 1, "zero bytes"),
        (b'{"text": ' + b"[" * 5000 + b"]" * 5000 + b"}", 1, "nested too deeply"),
        (b'{"text": "a", "weight": 1e999}', 1, "too large"),
    ],
)
def test_what_is_no_jsonl_is_explained(tmp_path: Path, content: bytes, line: int, words: str) -> None:
    (tmp_path / "train.jsonl").write_bytes(content)
    report = validate(tmp_path / "train.jsonl", purpose="fine-tune")
    problem = only_problem(report)
    assert problem.line == line
    assert words in problem.message
    assert problem.mend
    assert report.bytes == len(content)
    assert report.sha256 == hashlib.sha256(content).hexdigest()


def test_bytes_that_are_not_utf8_are_found_in_fields_that_nobody_reads(tmp_path: Path) -> None:
    good = (
        b'{"custom_id": "%d", "body": {"model": "m", "messages": [{"role": "user", "content": "a"}], "x": "\xc3\xa4"}}'
    )
    rows = [good % number for number in range(300)]
    rows[250] = rows[250].replace(b"\xc3\xa4", b"\xff")
    report = validate(write_lines(tmp_path / "batch.jsonl", rows), purpose="batch-api")
    assert places(report) == [(251, "")]


def test_a_line_beyond_the_limit_is_told_and_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr("together_flows.datasets.checker.MAX_LINE_BYTES", 100)
    long = b'{"text": "' + b"x" * (3 << 20) + b'"}'
    report = validate(write_lines(tmp_path / "train.jsonl", [TEXT, long, TEXT]), purpose="fine-tune")
    assert places(report) == [(2, "")]
    assert "longer than" in report.problems[0].message
    assert report.rows == 3
    assert report.bytes == 2 * len(TEXT) + len(long) + 3


def test_a_line_of_just_the_limit_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 10)
    read = list(LineReader(io.BytesIO(b"123456789\n1234567890\n12345678901\n12345678901234")))
    assert read == [b"123456789\n", b"1234567890\n", b"12345678901", b"12345678901"]


def test_problems_beyond_the_limit_are_counted_not_kept(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "train.jsonl", ["{broken"] * 50)
    report = validate(path, purpose="fine-tune", max_problems=10)
    assert len(report.problems) == 10
    assert report.problem_count == 50
    with pytest.raises(DatasetInvalid, match="50 problems") as caught:
        report.raise_for_problems()
    assert caught.value.problems == report.problems


def test_a_good_report_raises_nothing_and_survives_another_process(tmp_path: Path) -> None:
    report = validate(write_lines(tmp_path / "train.jsonl", [TEXT]), purpose="fine-tune")
    report.raise_for_problems()
    assert pickle.loads(pickle.dumps(report)) == report


@pytest.mark.parametrize("name", ["train.json", "train", "train.jsonl.gz", "train.txt"])
def test_the_suffix_must_tell_the_type(tmp_path: Path, name: str) -> None:
    report = validate(write_lines(tmp_path / name, [TEXT]), purpose="fine-tune")
    problem = only_problem(report)
    assert problem.line == 0
    assert str(problem).startswith("file: The file ")
    assert report.format == ""


def test_a_missing_file_is_an_argument_error(tmp_path: Path) -> None:
    with pytest.raises(ArgumentInvalid, match="cannot be read"):
        validate(tmp_path / "nowhere.jsonl", purpose="fine-tune")
    with pytest.raises(ArgumentInvalid, match="cannot be read"):
        validate(tmp_path, purpose="fine-tune")


@pytest.mark.parametrize(
    "arguments",
    [{"purpose": "training"}, {"purpose": "batch-api", "columns_used": ["a"]}, {"purpose": "eval", "max_problems": 0}],
)
def test_arguments_that_do_not_fit_are_refused(tmp_path: Path, arguments: dict[str, object]) -> None:
    path = write_lines(tmp_path / "train.jsonl", [TEXT])
    with pytest.raises(ArgumentInvalid):
        validate(path, **arguments)  # type: ignore[arg-type]  # wrong on purpose


def test_a_huge_value_is_cut_short_in_the_message(tmp_path: Path) -> None:
    row = {"messages": [{"role": "x" * 10_000, "content": "a"}, {"role": "assistant", "content": "b"}], "k" * 9000: 1}
    report = validate(write_lines(tmp_path / "train.jsonl", [row]), purpose="fine-tune")
    assert report.problem_count == 2
    assert all(len(str(problem)) < 300 for problem in report.problems)
