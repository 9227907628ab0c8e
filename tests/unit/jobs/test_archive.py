"""What a downloaded model is called."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from together_flows.jobs.archive import named_by_content


@pytest.mark.parametrize(
    ("content", "suffix"),
    [(gzip.compress(b"x", mtime=0), ".tar.gz"), (b"\x28\xb5\x2f\xfd rest", ".tar.zst"), (b"", ".tar")],
)
def test_an_archive_is_called_after_what_it_is(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / "ft-1.5"
    path.write_bytes(content)
    named = named_by_content(path)
    assert named.name == f"ft-1.5{suffix}"
    assert named.read_bytes() == content
    assert named_by_content(named) == named
