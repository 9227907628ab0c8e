"""Notes, while result files are read once, where the best line of each row is: 13 bytes of memory a row."""

from __future__ import annotations

import os
from array import array
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from together_flows.datasets.batch_input import BatchInput
from together_flows.datasets.lines import BLOCK_BYTES, MAX_LINE_BYTES
from together_flows.datasets.report import ProblemLog, shown
from together_flows.datasets.result_lines import ResultHead, read_head
from together_flows.errors import ArgumentInvalid

_FAILED, _SUCCEEDED = 1, 2  # bits: a row can have both an error and an answer

_OFFSET_BITS = 44  # of a place; the 20 bits above them number the file: a million files of 16 TiB
_OFFSET_MASK = (1 << _OFFSET_BITS) - 1

_MAX_OPEN_FILES = 64


class ResultLedger:
    """What the result files of a batch hold.

    Attributes:
        unknown_ids: lines whose `custom_id` is not in the batch.
        duplicates: second and further answers, and second and further errors, for one row.
        corrupt_lines: lines that cannot be read.
        prompt_tokens: of the answers that are used.
        completion_tokens: likewise.
        log: each of these lines.

    Raises:
        ArgumentInvalid: a wanted id is not in the batch.
    """

    def __init__(self, batch: BatchInput, wanted: Collection[str] | None) -> None:
        self.unknown_ids = self.duplicates = self.corrupt_lines = 0
        self.prompt_tokens = self.completion_tokens = 0
        self.log = ProblemLog()
        self._index = batch.index()
        self._wanted = None if wanted is None else frozenset(wanted)
        self._check_wanted()
        self._seen = bytearray(batch.rows)
        self._places = array("Q", bytes(8 * batch.rows))
        self._lengths = array("I", bytes(4 * batch.rows))

    def is_wanted(self, custom_id: str) -> bool:
        return self._wanted is None or custom_id in self._wanted

    def read(self, number: int, path: Path, name: str) -> None:
        """Take in the result file with this number; `name` is what problems call it."""
        place = number << _OFFSET_BITS
        with path.open("rb", buffering=BLOCK_BYTES) as stream:
            for line_number, line in enumerate(stream, 1):
                if not line.isspace():
                    self._read_line(line, place, line_number, name)
                place += len(line)

    def find(self, row: int) -> tuple[int, int, int] | None:
        """The file, offset and length of a row's best line; `None` when no line is about it."""
        if not self._seen[row]:
            return None
        place = self._places[row]
        return place >> _OFFSET_BITS, place & _OFFSET_MASK, self._lengths[row]

    def _check_wanted(self) -> None:
        unknown = [custom_id for custom_id in self._wanted or () if self._index.row_of(custom_id) is None]
        if unknown:
            raise ArgumentInvalid(
                f"wanted: {len(unknown)} of the ids are not in the batch, such as {shown(min(unknown))}.",
                mend="Use custom_ids of its rows.",
            )

    def _read_line(self, line: bytes, place: int, line_number: int, name: str) -> None:
        head = read_head(line) if len(line) <= MAX_LINE_BYTES else None
        if head is None:
            self.corrupt_lines += 1
            self.log.add(line_number, "", f"The line of {name} cannot be read.", "Download the file again.")
            return
        row = self._index.row_of(head.custom_id)
        if row is None:
            self.unknown_ids += 1
            message = f"{name} is about {shown(head.custom_id)}, which is not in this batch."
            self.log.add(line_number, "custom_id", message, "Check that the file belongs to the batch.")
        elif self.is_wanted(head.custom_id) and not self._take(row, head, place, len(line)):
            self.duplicates += 1
            kind = "answer" if head.succeeded else "error"
            message = f"{name} holds one more {kind} for {shown(head.custom_id)}."
            self.log.add(line_number, "custom_id", message, "")

    def _take(self, row: int, head: ResultHead, place: int, length: int) -> bool:
        """Note a line for its row: the first answer stays, a later error replaces an earlier one.

        Returns:
            Whether it is the first line of its kind for the row.
        """
        seen = self._seen[row]
        kind = _SUCCEEDED if head.succeeded else _FAILED
        self._seen[row] = seen | kind
        if not seen & _SUCCEEDED:
            self._places[row] = place
            self._lengths[row] = length
            self.prompt_tokens += head.prompt_tokens
            self.completion_tokens += head.completion_tokens
        return not seen & kind


class LineFetcher:
    """Reads single lines out of many files, with a bounded number of them open. A context manager."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._open: dict[int, IO[bytes]] = {}

    def __enter__(self) -> LineFetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._open.values():
            stream.close()
        self._open.clear()

    def fetch(self, number: int, offset: int, length: int) -> bytes:
        """The bytes at a place of the file with this number."""
        stream = self._open.get(number) or self._opened(number)
        return os.pread(stream.fileno(), length, offset)

    def _opened(self, number: int) -> IO[bytes]:
        if len(self._open) >= _MAX_OPEN_FILES:
            oldest = next(iter(self._open))
            self._open.pop(oldest).close()
        stream = self._files[number].open("rb", buffering=0)
        self._open[number] = stream
        return stream
