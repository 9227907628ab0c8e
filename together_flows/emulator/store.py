"""Where records live: one SQLite file, so that whatever was acknowledged outlives a SIGKILL.

A record is bytes under a kind and an id, kept in the order of creation. Writes are committed before the call returns;
WAL mode makes that cheap, and a killed process loses nothing that was committed.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Store"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, UNIQUE (kind, id)
);
CREATE TABLE IF NOT EXISTS tally (name TEXT NOT NULL, kind TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (name, kind));
"""


class Store:
    """Records and tallies on disk.

    Args:
        path: the database file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def put(self, kind: str, record_id: str, body: bytes) -> None:
        """Stores the record, or replaces the one under this id in its place."""
        with self._lock:
            self._put(kind, record_id, body)

    def put_counted(self, kind: str, record_id: str, body: bytes, tally: str) -> None:
        """Stores the record and raises a tally of its kind by one, both or neither."""
        with self._lock:
            self._db.execute("BEGIN")
            self._put(kind, record_id, body)
            self._raise_tally(tally, kind)
            self._db.execute("COMMIT")

    def add_tally(self, name: str, kind: str) -> None:
        """Raises a tally by one."""
        with self._lock:
            self._raise_tally(name, kind)

    def delete(self, kind: str, record_id: str) -> None:
        with self._lock:
            self._db.execute("DELETE FROM record WHERE kind = ? AND id = ?", (kind, record_id))

    def all(self, kind: str) -> Iterator[bytes]:
        """Every record of the kind, oldest first."""
        with self._lock:
            rows = self._db.execute("SELECT body FROM record WHERE kind = ? ORDER BY seq", (kind,)).fetchall()
        return (row[0] for row in rows)

    def tally(self, name: str) -> dict[str, int]:
        """The tally of each kind that has one."""
        with self._lock:
            return dict(self._db.execute("SELECT kind, n FROM tally WHERE name = ? ORDER BY kind", (name,)).fetchall())

    def clear(self) -> None:
        with self._lock:
            self._db.execute("DELETE FROM record")
            self._db.execute("DELETE FROM tally")

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _put(self, kind: str, record_id: str, body: bytes) -> None:
        self._db.execute(
            "INSERT INTO record (kind, id, body) VALUES (?, ?, ?) "
            "ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
            (kind, record_id, body),
        )

    def _raise_tally(self, name: str, kind: str) -> None:
        self._db.execute(
            "INSERT INTO tally VALUES (?, ?, 1) ON CONFLICT (name, kind) DO UPDATE SET n = n + 1", (name, kind)
        )
