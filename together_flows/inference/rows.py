"""Rows, read lazily: from memory, from a JSONL file, or from a CSV file with a header."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, TypeAlias

import msgspec

from together_flows.datasets.checker import skip_byte_order_mark
from together_flows.datasets.csv_rows import check_header, check_width, read_csv
from together_flows.datasets.json_line import UNREADABLE, read_object
from together_flows.datasets.lines import MAX_LINE_BYTES, LineReader
from together_flows.datasets.report import ProblemLog
from together_flows.errors import ArgumentInvalid
from together_flows.inference.places import Place, PlaceLike, place_of

__all__ = ["Row", "Rows", "check_rows", "count_rows", "read_rows"]

RowsInMemory: TypeAlias = "list[Any] | tuple[Any, ...]"
Rows: TypeAlias = "RowsInMemory | PlaceLike"
"""Rows in memory, or where a `.jsonl` or `.csv` file of rows lies."""

_as_data: Final = msgspec.json.Decoder().decode
_as_object: Final = msgspec.json.Decoder(dict[str, Any]).decode
_as_json: Final = msgspec.json.Encoder().encode
_NO_DATA = (TypeError, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        index: its position, from 0.
        value: a text, or a mapping of plain data.
        problem: why it cannot be read; then it has no value.
        size: bytes that it takes as JSON, roughly.
    """

    index: int
    value: Any
    problem: str = ""
    size: int = 0


def read_rows(source: Rows) -> Iterator[Row]:
    """The rows of a source, one at a time. A row that cannot be read is a row with a problem.

    Raises:
        ArgumentInvalid: there is no such file, or it is neither JSONL nor CSV.
        ConfigurationInvalid: a URL whose storage cannot be reached from here.
    """
    if isinstance(source, list | tuple):
        yield from _from_memory(source)
        return
    place = place_of(source)
    read = _from_csv if _format_of(place) == ".csv" else _from_json_lines
    with place.open() as stream:
        yield from read(LineReader(stream, hashed=False))


def check_rows(source: Rows) -> None:
    """Read a CSV file once for what makes it impossible to tell one row from the next. Other sources need no look.

    Raises:
        DatasetInvalid: it is no sound CSV; all problems with their lines.
        ArgumentInvalid: there is no such file, or it is neither JSONL nor CSV.
    """
    if isinstance(source, list | tuple):
        return
    place = place_of(source)
    if _format_of(place) != ".csv":
        return
    log = ProblemLog()
    with place.open() as stream:
        for _ in _records(LineReader(stream, hashed=False), log):
            pass
    if log.count:
        raise log.invalid(str(place))


def count_rows(source: Rows) -> int:
    """How many rows a source has. The rows of a JSONL file are only counted, not read."""
    if isinstance(source, list | tuple):
        return len(source)
    place = place_of(source)
    if _format_of(place) == ".csv":
        return sum(1 for _ in read_rows(source))
    with place.open() as stream:
        return sum(not line.isspace() for line in LineReader(stream, hashed=False))


def _format_of(place: Place) -> str:
    suffix = PurePosixPath(place.name).suffix
    if suffix not in (".jsonl", ".csv"):
        raise ArgumentInvalid(f"{place} is no file of rows.", mend="Use a .jsonl or a .csv file.")
    return suffix


def _from_memory(rows: Iterable[Any]) -> Iterator[Row]:
    for index, row in enumerate(rows):
        try:
            # Through JSON and back, so that a row means the same here as in a file: a NaN, say, is "no value".
            line = _as_json(row)
            yield Row(index, _as_data(line), size=len(line))
        except _NO_DATA as error:
            yield Row(index, None, problem=f"The row is no plain data: {error}.")


def _from_json_lines(reader: LineReader) -> Iterator[Row]:
    log = ProblemLog()
    if not skip_byte_order_mark(reader, log, is_problem=False):
        raise log.invalid("The rows")
    index = 0
    for line in reader:
        if line.isspace():
            continue
        yield _from_line(index, line)
        index += 1


def _from_line(index: int, line: bytes) -> Row:
    if len(line) > MAX_LINE_BYTES:
        return Row(index, None, problem=f"The line is longer than {MAX_LINE_BYTES} bytes.")
    try:
        return Row(index, _as_object(line), size=len(line))
    except UNREADABLE:
        log = ProblemLog()
        read_object(line, log.at(0))
        words = " ".join(problem.message for problem in log.problems)
        return Row(index, None, problem=words or "The line cannot be read.")


def _from_csv(reader: LineReader) -> Iterator[Row]:
    log = ProblemLog()
    records = _records(reader, log)
    for index, row in enumerate(records):
        if log.count:
            raise log.invalid("The rows")  # they were sound when they were checked: the file has changed since
        yield Row(index, row, size=sum(map(len, row.values())))


def _records(reader: LineReader, log: ProblemLog) -> Iterator[dict[str, str]]:
    """The records of a CSV file. An empty cell counts as none."""
    if not skip_byte_order_mark(reader, log, is_problem=False):
        return
    records = read_csv(reader, log)
    line, header = next(records, (1, []))
    check_header(line, header, log)
    for line, cells in records:
        if check_width(line, header, cells, log):
            yield {name: cell for name, cell in zip(header, cells, strict=True) if cell}
