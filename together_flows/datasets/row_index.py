"""Finds the row of a `custom_id` among millions, in 12 bytes a row, in memory as on disk.

Of each id only a 64-bit hash is kept. Two different ids among a million share one with a probability of about 3 in
100 million; they are then reported as a repetition, which is refused, so that a row can never be given another row's
answer. The file is in the byte order of the machine that wrote it.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

_BUCKETS = 256  # by the first byte of the hash: sorting needs memory for one bucket only
_HASH, _ROW = "Q", "I"

ENTRY_BYTES = array(_HASH).itemsize + array(_ROW).itemsize
"""Size of one entry on disk."""


def hash_of(custom_id: str) -> int:
    """A hash that is the same in every process and on every machine."""
    return int.from_bytes(hashlib.blake2b(custom_id.encode(), digest_size=8).digest(), "big")


class RowIndexWriter:
    """Takes the ids in the order of their rows, and writes the index."""

    def __init__(self) -> None:
        self._hashes = [array(_HASH) for _ in range(_BUCKETS)]
        self._rows = [array(_ROW) for _ in range(_BUCKETS)]
        self._count = 0

    def add(self, custom_id: str) -> None:
        value = hash_of(custom_id)
        bucket = value >> 56
        self._hashes[bucket].append(value)
        self._rows[bucket].append(self._count)
        self._count += 1

    def sort(self) -> Iterator[tuple[int, int]]:
        """Put the entries into the order of their hashes; yield each pair of rows that share an id, earlier first."""
        for bucket in range(_BUCKETS):
            entries = sorted(zip(self._hashes[bucket], self._rows[bucket], strict=True))
            self._hashes[bucket] = array(_HASH, [value for value, _ in entries])
            self._rows[bucket] = array(_ROW, [row for _, row in entries])
            first_hash, first_row = -1, -1
            for value, row in entries:
                if value == first_hash:
                    yield first_row, row
                else:
                    first_hash, first_row = value, row

    def write(self, path: Path) -> None:
        """Write the sorted entries: all hashes, then all rows."""
        with path.open("wb") as stream:
            for column in (self._hashes, self._rows):
                for bucket in column:
                    bucket.tofile(stream)


class RowIndex:
    """An index that was written before.

    Args:
        path: the file.
        rows: how many entries it has.
    """

    def __init__(self, path: Path, rows: int) -> None:
        self._hashes = array(_HASH)
        self._rows = array(_ROW)
        with path.open("rb") as stream:
            self._hashes.fromfile(stream, rows)
            self._rows.fromfile(stream, rows)

    def row_of(self, custom_id: str) -> int | None:
        """The row with this id, from 0; `None` when there is none."""
        value = hash_of(custom_id)
        place = bisect_left(self._hashes, value)
        if place < len(self._hashes) and self._hashes[place] == value:
            return self._rows[place]
        return None
