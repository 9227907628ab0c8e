"""Makes a JSONL file unique without changing what it says.

Why: Together stores equal content once, and a batch carries no tag or metadata of its own. If the answer to "create a
batch" is lost, the only trace by which the batch can be found again is its input file. That works only when no other
submission used the same file. So each submission writes a marker into its file: a short token, spelled in spaces and
tabs after the first line's opening brace, where JSON allows any white space. The bytes differ, so the file is stored
anew; the objects are the same to every JSON reader.

The spelling: a tab; then eight characters for each byte, most significant bit first, a space for 0 and a tab for 1. The
bytes are the length of the token, the token, and the low 16 bits of its CRC-32. The check sum keeps white space that
just happens to be there from being read as a marker.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from together_flows.datasets.report import Problem
from together_flows.datasets.storage import COPY_BYTES, Location, name_of, open_source, open_target
from together_flows.errors import ArgumentInvalid, DatasetInvalid

MAX_MARKER_CHARACTERS = 64

_TOKEN = re.compile(rf"[!-~]{{0,{MAX_MARKER_CHARACTERS}}}")
_OPENING = re.compile(rb"\s*\{")
_ZERO, _ONE = b" ", b"\t"

LONGEST_SPELLING: Final = 1 + 8 * (1 + MAX_MARKER_CHARACTERS + 2)
"""Bytes that a marker adds to a file at most."""


def check_marker(marker: str) -> None:
    """Refuse a token that cannot be spelled.

    Raises:
        ArgumentInvalid: it is longer than 64 characters, or not printable ASCII without spaces.
    """
    if not _TOKEN.fullmatch(marker):
        raise ArgumentInvalid(
            f"marker: {marker!r} is none.",
            mend=f"Use at most {MAX_MARKER_CHARACTERS} printable ASCII characters without spaces.",
        )


def salt(source_path: Location, target_path: Location, marker: str) -> None:
    """Copy a JSONL file and mark the copy; a marker that the source has is replaced. Memory use is constant.

    Args:
        source_path: a local path or an fsspec URL.
        target_path: likewise; it may be the source itself. It takes its name only when it is complete.
        marker: 1 to 64 printable ASCII characters without spaces; an empty one makes a copy without a marker.

    Raises:
        ArgumentInvalid: the marker cannot be spelled, or there is no such file.
        DatasetInvalid: the file does not begin with an object.
    """
    check_marker(marker)
    with open_source(source_path) as source, open_target(target_path) as target:
        head = source.read(COPY_BYTES)
        try:
            target.write(with_marker(head, marker))
        except ValueError as error:
            problem = Problem(1, "", "The line does not begin with an object.", "Give one JSON object a line.")
            raise DatasetInvalid(f"{name_of(source_path)} cannot be marked.", problems=[problem]) from error
        while block := source.read(COPY_BYTES):
            target.write(block)


def read_marker(path: Location) -> str | None:
    """The marker of a JSONL file; `None` when it has none.

    Raises:
        ArgumentInvalid: there is no such file.
    """
    with open_source(path) as source:
        head = source.read(COPY_BYTES)
    opening = _OPENING.match(head)
    return _spelled(head, opening.end())[0] if opening else None


def with_marker(head: bytes, marker: str) -> bytes:
    """The beginning of a file, or a line, with this marker instead of the one it has; an empty marker removes it.

    Raises:
        ValueError: it does not begin with an object.
    """
    opening = _OPENING.match(head)
    if opening is None:
        raise ValueError("the text does not begin with an object")
    start = opening.end()
    _, end = _spelled(head, start)
    return b"".join((head[:start], _spelling(marker), head[end:]))


def may_be_marked(line: bytes) -> bool:
    """Whether a line may hold a marker: cheap enough to ask of every line."""
    return line.startswith(b"{\t")


def _spelling(marker: str) -> bytes:
    if not marker:
        return b""
    token = marker.encode("ascii")
    code = bytes([len(token)]) + token + _check_sum(token)
    bits = "".join(f"{byte:08b}" for byte in code)
    return _ONE + bits.encode().replace(b"0", _ZERO).replace(b"1", _ONE)


def _spelled(head: bytes, start: int) -> tuple[str | None, int]:
    """The marker that is spelled at `start` and where it ends; `None` and `start` when there is none."""
    blank = re.match(rb"\t[ \t]*", head[start : start + LONGEST_SPELLING])
    if blank is None:
        return None, start
    bits = blank[0][1:].replace(_ZERO, b"0").replace(_ONE, b"1")
    code = bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits) - 7, 8))
    if len(code) < 4 or len(code) < 3 + code[0]:
        return None, start
    token, check_sum = code[1 : 1 + code[0]], code[1 + code[0] : 3 + code[0]]
    if not token or check_sum != _check_sum(token) or not token.isascii():
        return None, start
    return token.decode("ascii"), start + 1 + 8 * (3 + code[0])


def _check_sum(token: bytes) -> bytes:
    return (zlib.crc32(token) & 0xFFFF).to_bytes(2, "big")
