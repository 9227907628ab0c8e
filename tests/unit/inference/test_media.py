"""Names of media files: no id leads out of the folder, and no two rows share a file."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from together_flows.inference.answers import Address, parts_of, suffix_of
from together_flows.inference.media import file_stem
from together_flows.inference.requests import Asked


@given(st.text(max_size=300), st.integers(0, 10**9))
def test_any_id_gives_a_plain_short_name_in_the_folder(custom_id: str, index: int) -> None:
    name = f"{file_stem(Asked(index, custom_id))}-0.png"
    assert PurePosixPath(name).name == PureWindowsPath(name).name == name
    assert name.isascii()
    assert name.isprintable()
    assert len(name) <= 128
    assert name[0].isdigit()


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_two_rows_share_a_file_even_where_capitals_do_not_count(one: str, other: str) -> None:
    assert file_stem(Asked(1, one)).lower() != file_stem(Asked(2, other)).lower()


@pytest.mark.parametrize(
    ("custom_id", "stem"),
    [
        ("row-000000007", "000000007"),
        ("", "000000007"),
        ("...", "000000007"),
        ("../../etc/passwd", "000000007-etc-passwd"),
        ("C:\\con", "000000007-C-con"),
        ("été", "000000007-t"),
        ("a b\0c", "000000007-a-b-c"),
        ("order_17.b", "000000007-order_17.b"),
    ],
)
def test_the_name_shows_what_is_harmless_of_the_id(custom_id: str, stem: str) -> None:
    assert file_stem(Asked(7, custom_id)) == stem


def test_an_address_goes_into_a_file_and_shows_in_no_repr() -> None:
    parts = parts_of({"id": "1", "data": [{"index": 0, "url": "https://here/?key=s3cret", "type": "url"}]})
    assert parts.media == [Address("https://here/?key=s3cret")]
    assert parts.response == {"id": "1", "data": [{"index": 0, "type": "url"}]}
    assert "s3cret" not in repr(parts)


@pytest.mark.parametrize(
    ("head", "suffix"), [(b"\0\0\0\x18ftypisom", "mp4"), (b"\x1a\x45\xdf\xa3....", "webm"), (b"", "bin"), (b"?", "bin")]
)
def test_the_suffix_is_told_by_the_content(head: bytes, suffix: str) -> None:
    assert suffix_of(head) == suffix
