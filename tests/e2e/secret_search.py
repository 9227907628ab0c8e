"""Looks for secrets in everything that programs have left on a disk: in the clear, written otherwise, and packed."""

from __future__ import annotations

import base64
import bz2
import gzip
import html
import json
import lzma
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, quote_plus

__all__ = ["found_in", "found_under", "writings"]

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
#: How deep packings within packings are opened.
_DEPTH = 3
_SQLITE = b"SQLite format 3\x00"

_OPENERS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", gzip.decompress),
    (b"BZh", bz2.decompress),
    (b"\xfd7zXZ\x00", lzma.decompress),
    (b"\x78", zlib.decompress),
)


def writings(secret: str) -> set[bytes]:
    """The ways in which a program may write a text: as it is, in JSON, a URL, HTML, a Python literal, or base64."""
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    twice = {json.dumps(text)[1:-1] for text in in_json}
    in_url = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    texts = {secret, html.escape(secret), repr(secret)[1:-1], *in_json, *twice, *in_url}
    plain = {text.encode() for text in texts}
    return {*plain, base64.b64encode(secret.encode()), base64.urlsafe_b64encode(secret.encode())}


def found_under(folder: Path, secrets: Mapping[str, str]) -> list[str]:
    """Each place below a folder that holds a secret, with the secret's name.

    Files are searched byte by byte, and databases row by row too: a long value does not lie in one piece in the file.
    """
    return [
        f"{name} in {path.relative_to(folder)}{where}"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
        for where, content in _contents(path)
        for name in found_in(content, secrets)
    ]


def found_in(content: bytes, secrets: Mapping[str, str]) -> list[str]:
    """The names of the secrets that some bytes hold, packed ones included."""
    layers = list(_layers(content, _DEPTH))
    return [
        name
        for name, secret in secrets.items()
        if any(writing in layer for writing in writings(secret) for layer in layers)
    ]


def _layers(content: bytes, depth: int) -> Iterator[bytes]:
    """The bytes, and what is packed in them. A pickle needs no opening: it holds its texts as they are."""
    yield content
    if depth == 0:
        return
    for start, opener in _OPENERS:
        if content.startswith(start):
            try:
                yield from _layers(opener(content), depth - 1)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
                continue
    for match in _BASE64.finditer(content):
        yield from _layers(_unbased(match[0]), depth - 1)


def _unbased(text: bytes) -> bytes:
    plain = text.rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
    usable = plain[: len(plain) - (len(plain) % 4 == 1)]
    return base64.b64decode(usable + b"=" * (-len(usable) % 4))


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    content = path.read_bytes()
    yield "", content
    if content.startswith(_SQLITE):
        yield from _rows(path)


def _rows(path: Path) -> Iterator[tuple[str, bytes]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.text_factory = bytes
        tables = [row[0].decode() for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            cursor = database.execute(f'SELECT * FROM "{table}"')
            columns = [column[0] for column in cursor.description]
            for row in cursor:
                for column, value in zip(columns, row, strict=True):
                    if isinstance(value, bytes):
                        yield f", {table}.{column}", value
