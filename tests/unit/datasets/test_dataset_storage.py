"""Local paths and fsspec URLs."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tests.unit.datasets.files import answer, request, write_lines
from together_flows.datasets import BatchInput, merge_results, read_marker, repair_input, salt, validate
from together_flows.datasets.storage import open_target
from together_flows.errors import ArgumentInvalid, ConfigurationInvalid


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    file_system = fsspec.filesystem("memory")
    yield file_system
    file_system.rm("/", recursive=True)


def put(file_system: fsspec.AbstractFileSystem, source: Path, name: str) -> str:
    file_system.put_file(str(source), name)
    return f"memory://{name}"


def test_everything_reads_and_writes_urls(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    url = put(memory, write_lines(tmp_path / "in.jsonl", [request("a"), request("b")]), "/data/in.jsonl")
    local = validate(tmp_path / "in.jsonl", purpose="batch-api")
    assert validate(url, purpose="batch-api") == dataclasses.replace(local, path=url)

    salt(url, "memory:///data/salted.jsonl", "x")
    assert read_marker("memory:///data/salted.jsonl") == "x"

    batch = BatchInput.from_file(url, tmp_path / "batch")
    output = put(memory, write_lines(tmp_path / "out", [answer("b")]), "/data/out.jsonl")
    assert merge_results(batch, [output], [], "memory:///data/merged.jsonl").succeeded == 1
    assert memory.cat_file("/data/merged.jsonl").count(b"\n") == 2
    repair = repair_input(batch, "memory:///data/merged.jsonl", tmp_path / "repair")
    assert repair is not None
    assert repair.rows == 1


def test_a_url_that_is_not_there_is_an_argument_error(memory: fsspec.AbstractFileSystem) -> None:
    with pytest.raises(ArgumentInvalid, match=r"memory:///nowhere\.jsonl cannot be read"):
        validate("memory:///nowhere.jsonl", purpose="eval")


def test_a_url_without_fsspec_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ConfigurationInvalid, match=r"together-flows\[storage\]"):
        validate("s3://bucket/train.jsonl", purpose="fine-tune")


def test_a_url_of_an_unknown_kind_says_so() -> None:
    with pytest.raises(ConfigurationInvalid, match="nosuchstore://"):
        validate("nosuchstore://bucket/train.jsonl", purpose="fine-tune")


@pytest.mark.parametrize("url", [False, True])
def test_a_target_appears_whole_or_not_at_all(memory: fsspec.AbstractFileSystem, tmp_path: Path, url: bool) -> None:
    target = "memory:///folder/target" if url else str(tmp_path / "folder" / "target")

    def content() -> bytes | None:
        with fsspec.open(target, "rb") as stream:
            return bytes(stream.read())

    with open_target(target) as stream:
        stream.write(b"old")
    assert content() == b"old"
    with pytest.raises(ZeroDivisionError), open_target(target) as stream:
        stream.write(b"%d" % (1 // stream.write(b"")))
    assert content() == b"old"
    if not url:
        assert [path.name for path in (tmp_path / "folder").iterdir()] == ["target"]
