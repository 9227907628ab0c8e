"""Where request lines come from: rows in memory, a JSONL file, or a CSV file with a header."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from together_flows.datasets.checker import EXACT_ROWS, note_long_line, skip_byte_order_mark
from together_flows.datasets.csv_rows import check_header, check_width, read_csv
from together_flows.datasets.json_line import read_object
from together_flows.datasets.lines import MAX_LINE_BYTES, LineReader
from together_flows.datasets.report import ProblemLog
from together_flows.datasets.request_rows import RequestLine, RequestTemplate

RequestLines: TypeAlias = Iterator[tuple[int, RequestLine]]
"""Good request lines, each with the line or row that it comes from. What is not good goes to the log instead."""


def from_rows(rows: Iterable[object], template: RequestTemplate, log: ProblemLog) -> RequestLines:
    for index, row in enumerate(rows):
        line = template.fill(row, _own_id(index), log.at(index + 1))
        if line is not None:
            yield index + 1, line


def from_json_lines(reader: LineReader, template: RequestTemplate, log: ProblemLog) -> RequestLines:
    """Read one row a line. A line that is complete is taken as it stands, byte for byte."""
    if not skip_byte_order_mark(reader, log, is_problem=False):
        return
    index = -1
    for number, line in enumerate(reader, 1):
        if line.isspace():
            continue
        index += 1
        if len(line) > MAX_LINE_BYTES:
            note_long_line(number, log)
            continue
        taken = template.keep(line) if index >= EXACT_ROWS else None
        if taken is None:
            taken = _read_exactly(line, template, _own_id(index), number, log)
        if taken is not None:
            yield number, taken


def from_csv(reader: LineReader, template: RequestTemplate, log: ProblemLog) -> RequestLines:
    """Read one row a record. An empty `custom_id` counts as none."""
    if not skip_byte_order_mark(reader, log, is_problem=False):
        return
    records = read_csv(reader, log)
    line, header = next(records, (1, []))
    check_header(line, header, log)
    for index, (line, cells) in enumerate(records):
        if not check_width(line, header, cells, log):
            continue
        row = dict(zip(header, cells, strict=True))
        if not row.get("custom_id"):
            row.pop("custom_id", None)
        taken = template.fill(row, _own_id(index), log.at(line))
        if taken is not None:
            yield line, taken


def _read_exactly(
    line: bytes, template: RequestTemplate, own_id: str, number: int, log: ProblemLog
) -> RequestLine | None:
    problems = log.at(number)
    row = read_object(line, problems)
    if row is None or problems.found:
        return None
    return template.keep(line) or template.fill(row, own_id, problems)


def _own_id(index: int) -> str:
    """The id of a row that brings none: the same whenever the same rows are read again."""
    return f"row-{index:09d}"
