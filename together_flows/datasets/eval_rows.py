"""The rules of an evaluation dataset: JSON lines or CSV, the same columns in every row, and all of them used.

Source: Together's documentation of evaluations. A column that no template and no setting refers to fails the job with
`user_error` after it was accepted, so it is worth telling before.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec

from together_flows.datasets.checker import LineChecker, TextChecker, is_utf8
from together_flows.datasets.csv_rows import check_header, check_width, read_csv
from together_flows.datasets.lines import LineReader
from together_flows.datasets.report import LineProblems, ProblemLog, shortened, shown
from together_flows.datasets.tokens import utf8_length

IMAGE_COLUMN = "image_data_urls"
"""The column that holds images as data URLs. It is no text, so it does not count as tokens."""

_read_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class EvalLineChecker(LineChecker):
    """Checks an evaluation dataset in JSON lines. The first readable row decides on the columns."""

    format = "eval"

    def __init__(self, log: ProblemLog, columns_used: Collection[str] | None) -> None:
        super().__init__(log)
        self._columns_used = columns_used
        self._columns: frozenset[str] = frozenset()

    def _accepts(self, number: int, line: bytes) -> bool:
        members = _read_members(line)
        if members.keys() != self._columns or not is_utf8(line):
            return False
        self.size.text_bytes += sum(len(bytes(value)) for name, value in members.items() if name != IMAGE_COLUMN)
        return True

    def _check_object(self, number: int, value: dict[str, Any], problems: LineProblems) -> None:
        if not value:
            problems.add("", "The object is empty.", "Give it the columns of the dataset.")
            return
        if not self.columns:
            self.columns = tuple(value)
            self._columns = frozenset(value)
        for column in self.columns:
            if column not in value:
                mend = "Every row has the same columns: give it here, or null where it has no value."
                problems.add(shortened(column), "The column is missing.", mend)
        for column in value:
            if column not in self._columns:
                mend = f"Remove it here, or give it in every row; the first row has {shown(self.columns)}."
                problems.add(shortened(column), "The first row has no such column.", mend)
        texts = (cell for name, cell in value.items() if name != IMAGE_COLUMN)
        self.size.text_bytes += sum(len(msgspec.json.encode(cell)) for cell in texts)

    def _finish(self) -> None:
        check_use(self.columns, self._columns_used, self.log)


class EvalCsvChecker(TextChecker):
    """Checks an evaluation dataset in CSV with a header."""

    format = "eval"

    def __init__(self, log: ProblemLog, columns_used: Collection[str] | None) -> None:
        super().__init__(log)
        self._columns_used = columns_used

    def _check_rows(self, reader: LineReader) -> None:
        records = read_csv(reader, self.log)
        line, header = next(records, (1, []))
        check_header(line, header, self.log)
        self.columns = tuple(header)
        for line, cells in records:
            self.rows += 1
            if check_width(line, header, cells, self.log):
                self._measure(cells)

    def _measure(self, cells: list[str]) -> None:
        for name, cell in zip(self.columns, cells, strict=True):
            if name != IMAGE_COLUMN:
                self.size.text_bytes += utf8_length(cell)

    def _finish(self) -> None:
        check_use(self.columns, self._columns_used, self.log)


def check_use(columns: tuple[str, ...], used: Collection[str] | None, log: ProblemLog) -> None:
    """Check that the columns of a file and those that an evaluation refers to are the same."""
    if used is None or not columns:
        return
    for column in columns:
        if column not in used:
            mend = "Use it in a template, or remove it: an evaluation fails on a column that it does not use."
            log.add(1, shortened(column), "The evaluation does not use this column.", mend)
    for column in used:
        if column not in columns:
            mend = f"Correct the name: the columns are {shown(columns)}."
            log.add(1, shortened(column), "The evaluation uses this column, and the file has none of that name.", mend)
