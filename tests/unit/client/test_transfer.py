"""What uploads and downloads decide without a network."""

from __future__ import annotations

import math
import os
import threading
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from together_flows.client._download import place_in
from together_flows.client._part_file import PartFile
from together_flows.client._storage import storage_reason
from together_flows.client._transfer import Transfer, name_in_disposition, safe_name
from together_flows.client._upload import LARGEST_FILE, PartPlan, Source
from together_flows.errors import ArgumentInvalid, TransferIncomplete


@given(st.text())
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    safe = safe_name(name, fallback="file")
    folder = Path("/data/out")

    assert Path(os.path.normpath(folder / safe)).parent == folder
    assert (folder / safe).name == safe
    assert "/" not in safe
    assert "\\" not in safe
    assert safe.isprintable()
    assert not safe.startswith(".")
    assert len(os.fsencode(safe)) <= 200


@pytest.mark.parametrize(
    ("given_name", "safe"),
    [
        ("results.jsonl", "results.jsonl"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/etc/cron.d/x", "x"),
        ("..", "file"),
        ("", "file"),
        (".bashrc", "bashrc"),
        ("a\0b\n.jsonl", "ab.jsonl"),
        ("good\u202egnp.exe", "goodgnp.exe"),
        ("folder/", "file"),
        ("naïve results.jsonl", "naïve results.jsonl"),
        ("x" * 300 + ".jsonl", "x" * 194 + ".jsonl"),
        ("é" * 300, "é" * 100),
    ],
)
def test_names_keep_what_is_harmless(given_name: str, safe: str) -> None:
    assert safe_name(given_name, fallback="file") == safe


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("", ""),
        ("inline", ""),
        ('attachment; filename="model.tar.zst"', "model.tar.zst"),
        ("attachment; filename=plain.jsonl", "plain.jsonl"),
        ("attachment; filename*=UTF-8''na%C3%AFve%20rows.jsonl", "naïve rows.jsonl"),
        ('attachment; filename="../../x"', "../../x"),
        ("attachment; filename*=nonsense''%FF", ""),
        (";;;===", ""),
    ],
)
def test_the_servers_name_is_read_from_its_header(header: str, name: str) -> None:
    found = name_in_disposition(header)

    assert found == name or (not name and safe_name(found, fallback="file"))


def test_the_target_is_a_file_or_a_file_in_a_folder(tmp_path: Path) -> None:
    named = {"content-disposition": 'attachment; filename="../theirs.jsonl"'}

    def placed(target: str | Path, file_name: str | None = None, headers: dict[str, str] = named) -> Path:
        return place_in(target, file_name=file_name, fallback="file-1")(headers)

    assert placed(tmp_path / "mine.jsonl") == tmp_path / "mine.jsonl"
    assert placed(tmp_path) == tmp_path / "theirs.jsonl"
    assert placed(f"{tmp_path}/new/") == tmp_path / "new" / "theirs.jsonl"
    assert placed(tmp_path, "../ours.jsonl") == tmp_path / "ours.jsonl"
    assert placed(tmp_path, headers={}) == tmp_path / "file-1"


@given(st.integers(1, LARGEST_FILE), st.integers(1, 2**30))
def test_parts_cover_the_file_exactly_once(size: int, part_size: int) -> None:
    plan = PartPlan.of(size, part_size=part_size)
    spans = [plan.span(number) for number in range(1, plan.count + 1)]

    assert 1 <= plan.count <= 250
    assert all(length > 0 for _, length in spans)
    assert spans[0][0] == 0
    assert all(start + length == following for (start, length), (following, _) in pairwise(spans))
    assert sum(length for _, length in spans) == size


def test_a_six_gibibyte_file_goes_in_parts_of_a_quarter_gibibyte() -> None:
    plan = PartPlan.of(6 * 1024**3)

    assert plan.count == 25
    assert plan.part_size == math.ceil(6 * 1024**3 / 25)


@pytest.mark.parametrize("name", ["rows.txt", "rows", ".jsonl.bak", "jsonl"])
def test_a_name_that_does_not_tell_its_type_is_refused_with_what_would(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(ArgumentInvalid, match="file_name"):
        Source.of(tmp_path / name)
    assert Source.of(tmp_path / name, "rows.CSV").file_type == "csv"


def test_missing_and_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    for path in (tmp_path / "none.jsonl", tmp_path / "empty.jsonl", tmp_path):
        with pytest.raises(ArgumentInvalid):
            Source.of(path, "x.jsonl")


def test_a_file_too_large_for_the_api_is_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(ArgumentInvalid, match=str(LARGEST_FILE)):
        Source.of(path)


def test_a_file_that_changes_while_it_is_uploaded_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("one")
    source = Source.of(path)
    source.check_unchanged()
    os.utime(path, ns=(0, source.changed_at + 1))
    with pytest.raises(TransferIncomplete, match="changed"):
        source.check_unchanged()


def test_progress_is_told_seldom_but_always_at_the_end() -> None:
    told: list[tuple[int, int]] = []
    transfer = Transfer(1000, on_progress=lambda done, total: told.append((done, total)))
    for _ in range(1000):
        transfer.advance(1)
    transfer.finish()

    assert told[0] == (1, 1000)
    assert told[-1] == (1000, 1000)
    assert len(told) < 20


def test_a_stopped_transfer_ends_at_its_next_block_and_waits_no_longer() -> None:
    stop = threading.Event()
    transfer = Transfer(10, stop=stop)
    transfer.advance(1)
    stop.set()

    transfer.pause(3600)
    with pytest.raises(TransferIncomplete):
        transfer.advance(1)


def test_a_part_file_takes_the_targets_place_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "rows.jsonl"
    part = PartFile.beside(target)
    part.write(b"abc")
    part.restart()
    part.write(b"de")

    assert part.size == 2
    assert not target.exists()
    assert part.commit() == target
    part.discard()
    assert target.read_bytes() == b"de"
    assert list(target.parent.iterdir()) == [target]


def test_a_part_file_that_is_given_up_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "rows.jsonl"
    target.write_bytes(b"old")
    part = PartFile.beside(target)
    part.write(b"new")
    part.discard()

    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_two_downloads_to_one_target_do_not_mix(tmp_path: Path) -> None:
    target = tmp_path / "rows.jsonl"
    first = PartFile.beside(target)
    first.write(b"first")
    with pytest.raises(TransferIncomplete, match="Another download"):
        PartFile.beside(target)
    first.commit()

    second = PartFile.beside(target)
    second.write(b"second")
    assert target.read_bytes() == b"first"
    second.commit()
    assert target.read_bytes() == b"second"


def test_what_a_crash_left_behind_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.part").write_bytes(b"half of something else")
    part = PartFile.beside(tmp_path / "rows.jsonl")
    part.write(b"x")

    assert part.commit().read_bytes() == b"x"


def test_a_link_in_the_part_files_place_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "rows.jsonl.part").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        PartFile.beside(tmp_path / "rows.jsonl")
    assert victim.read_bytes() == b"precious"


def test_of_a_storages_refusal_only_code_and_message_are_kept() -> None:
    body = b"""<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message>
        <AWSAccessKeyId>AKIA123</AWSAccessKeyId><StringToSign>secret</StringToSign></Error>"""

    assert storage_reason(body) == b'{"code":"AccessDenied","message":"Request has expired"}'
    assert storage_reason(b"") == b"{}"
