"""Markers: a file made unique by white space that no JSON reader sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.datasets.files import read_lines, request, write_lines
from together_flows.datasets import read_marker, salt, validate
from together_flows.datasets.marker import with_marker
from together_flows.errors import ArgumentInvalid, DatasetInvalid


def test_a_marked_copy_says_the_same_in_other_bytes(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", [request("a"), request("b")])
    target = tmp_path / "b.jsonl"
    salt(source, target, "together-7f3a")
    assert read_marker(target) == "together-7f3a"
    assert read_marker(source) is None
    assert read_lines(target) == read_lines(source)
    assert target.read_bytes().splitlines()[1:] == source.read_bytes().splitlines()[1:]
    assert validate(target, purpose="batch-api").sha256 != validate(source, purpose="batch-api").sha256
    assert validate(target, purpose="batch-api").ok


def test_a_new_marker_replaces_the_old_one_and_an_empty_one_removes_it(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", ['{ "text" : "a"}', '{"text": "b"}'])
    salt(source, tmp_path / "b.jsonl", "first")
    salt(tmp_path / "b.jsonl", tmp_path / "b.jsonl", "second")
    assert read_marker(tmp_path / "b.jsonl") == "second"
    salt(tmp_path / "b.jsonl", tmp_path / "c.jsonl", "")
    assert (tmp_path / "c.jsonl").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("line", ['{"a": 1}', '{ "a": 1}', '{\t"a": 1}', "{" + "\t \t" * 100 + '"a": 1}', "[]", ""])
def test_white_space_that_is_just_there_is_no_marker(tmp_path: Path, line: str) -> None:
    assert read_marker(write_lines(tmp_path / "a.jsonl", [line])) is None


def test_a_marker_with_one_wrong_bit_is_none(tmp_path: Path) -> None:
    marked = with_marker(b'{"a": 1}', "m")
    for place in range(1, marked.index(b'"')):
        flipped = b" " if marked[place : place + 1] == b"\t" else b"\t"
        damaged = marked[:place] + flipped + marked[place + 1 :]
        assert read_marker(write_lines(tmp_path / "a.jsonl", [damaged])) is None


def test_a_marker_goes_behind_white_space_before_the_first_object(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", ["", '  {"a": 1}'])
    salt(source, tmp_path / "b.jsonl", "x")
    assert read_marker(tmp_path / "b.jsonl") == "x"
    assert json.loads((tmp_path / "b.jsonl").read_text()) == {"a": 1}


@pytest.mark.parametrize("marker", ["with space", "ümlaut", "x" * 65, "tab\t", "line\n"])
def test_a_marker_that_cannot_be_spelled_is_refused(tmp_path: Path, marker: str) -> None:
    source = write_lines(tmp_path / "a.jsonl", [request("a")])
    with pytest.raises(ArgumentInvalid, match="marker"):
        salt(source, tmp_path / "b.jsonl", marker)
    assert not (tmp_path / "b.jsonl").exists()


def test_a_file_that_begins_with_no_object_is_refused_and_the_target_left_alone(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", ["[1]"])
    target = write_lines(tmp_path / "b.jsonl", [request("old")])
    with pytest.raises(DatasetInvalid, match="line 1: The line does not begin with an object"):
        salt(source, target, "x")
    assert read_lines(target) == [request("old")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]


def test_large_files_are_copied_whole(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", [request(f"{number}", "x" * 1000) for number in range(3000)])
    salt(source, tmp_path / "b.jsonl", "m")
    salt(tmp_path / "b.jsonl", tmp_path / "c.jsonl", "")
    assert (tmp_path / "c.jsonl").read_bytes() == source.read_bytes()
