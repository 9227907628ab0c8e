"""Reads CSV from a stream of byte lines, in constant memory, with the line of every record."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from together_flows.datasets.lines import LineReader
from together_flows.datasets.report import ProblemLog, shortened, shown

MAX_CELL_CHARACTERS = 16 << 20
"""The longest cell that is read: room for a base64 image of 10 MiB. It also bounds what a stray quote swallows."""


def read_csv(reader: LineReader, log: ProblemLog) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line on which it starts; note what cannot be read. Blank lines are passed over."""
    # Python keeps this limit for the whole process, at 128 KiB unless somebody raised it. Raising it harms nobody.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL_CHARACTERS))
    records = csv.reader(_decoded(reader, log), strict=True)
    while True:
        line = records.line_num + 1
        try:
            cells = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            log.add(line, "", f"This is not CSV: {error}.", 'Quote cells with ", and write a quote within as "".')
            continue
        if cells:
            yield line, cells


def check_header(line: int, columns: list[str], log: ProblemLog) -> None:
    """Check that every column has a name of its own."""
    for position, column in enumerate(columns, 1):
        if not column.strip():
            log.add(line, "", f"Column {position} of the header has no name.", "Name it or remove it.")
        elif column in columns[: position - 1]:
            log.add(line, shortened(column), "The header names this column twice.", "Rename or remove one of them.")


def check_width(line: int, columns: list[str], cells: list[str], log: ProblemLog) -> bool:
    """Check that a record has one cell for each column."""
    if len(cells) == len(columns):
        return True
    message = f"The record has {len(cells)} cells; the header has {len(columns)} columns: {shown(columns)}."
    log.add(line, "", message, "Give each record one cell a column, and quote cells that hold commas.")
    return False


def _decoded(reader: LineReader, log: ProblemLog) -> Iterator[str]:
    for number, line in enumerate(reader, 1):
        try:
            yield line.decode()
        except UnicodeDecodeError:
            log.add(number, "", "The line is not UTF-8 text.", "Save the file in the encoding UTF-8.")
            yield line.decode(errors="replace")
