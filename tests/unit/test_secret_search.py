"""The search for secrets finds what is there; otherwise it would prove nothing."""

from __future__ import annotations

import base64
import bz2
import gzip
import html
import json
import lzma
import pickle
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

from tests.e2e.secret_search import found_in, found_under

SECRET = 'pass"word/+%é<1>'
HIDING_PLACES = {
    "plain": f"x {SECRET} y".encode(),
    "json": json.dumps({"a": SECRET}).encode(),
    "json in json": json.dumps({"a": json.dumps({"a": SECRET})}).encode(),
    "url": quote(SECRET).encode(),
    "query": urlencode({"a": SECRET}).encode(),
    "html": html.escape(SECRET).encode(),
    "base64": base64.b64encode(SECRET.encode()),
    "base64 of more": b'{"data": "' + base64.b64encode(f"before {SECRET} after".encode()) + b'"}',
    "base64 for addresses": base64.urlsafe_b64encode(f"??>>{SECRET}".encode()).rstrip(b"="),
    "pickle": pickle.dumps({"a": [SECRET]}),
    "pickle in base64 in json": json.dumps({"r": base64.b64encode(pickle.dumps(SECRET)).decode()}).encode(),
    "zlib": zlib.compress(json.dumps([SECRET]).encode()),
    "gzip": gzip.compress(SECRET.encode()),
    "bz2": bz2.compress(SECRET.encode()),
    "xz": lzma.compress(SECRET.encode()),
    "gzip in base64": base64.b64encode(gzip.compress(SECRET.encode())),
}


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_a_secret_is_found_where_it_hides(place: str) -> None:
    assert found_in(HIDING_PLACES[place], {"mine": SECRET, "other": "something-else"}) == ["mine"]


def test_bytes_without_a_secret_hold_none() -> None:
    assert found_in(pickle.dumps(["x" * 500, base64.b64encode(b"nothing" * 30)]), {"mine": SECRET}) == []


def test_a_row_is_searched_in_one_piece_also_before_it_is_written_into_the_database_file(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE kept (id INTEGER, text TEXT, data BLOB)")
        database.execute("INSERT INTO kept VALUES (1, ?, ?)", ("x" * 3_990 + SECRET + "y" * 9_000, b"-"))
        database.execute("INSERT INTO kept VALUES (2, '-', ?)", (zlib.compress(SECRET.encode() * 999),))
        database.commit()
        found = found_under(tmp_path, {"mine": SECRET})
    assert {"mine in a.db, kept.text", "mine in a.db, kept.data"} <= set(found)
