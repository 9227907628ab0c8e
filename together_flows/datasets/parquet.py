"""Checks that a Parquet file is one, by the marks at both its ends. What it holds is left to the API to check.

Parquet is for training on tokenised data only. Reading it takes a library of many megabytes, which is not worth it for
a list of column names.
"""

from __future__ import annotations

from together_flows.datasets.checker import Checker
from together_flows.datasets.lines import BLOCK_BYTES, LineReader

_MAGIC = b"PAR1"
_LEAST_BYTES = 2 * len(_MAGIC) + 4  # both marks, and the length of the metadata


class ParquetChecker(Checker):
    """Checks a Parquet file of tokenised training data."""

    def run(self, reader: LineReader) -> None:
        head = reader.peek(len(_MAGIC))
        tail = b""
        while block := reader.read(BLOCK_BYTES):
            tail = (tail + block)[-len(_MAGIC) :]
        if head != _MAGIC or reader.size < _LEAST_BYTES:
            self.log.add(0, "", "This is not a Parquet file.", "Write it anew, or name it by its real type.")
        elif tail != _MAGIC:
            self.log.add(0, "", "The Parquet file is cut short: its end is missing.", "Write or copy it anew.")
