"""Takes the rows of a batch that came to nothing, so that only they are sent, and paid, again."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from together_flows.datasets.batch_input import BatchInput
from together_flows.datasets.batch_lines import RequestRules
from together_flows.datasets.batch_writer import new_manifest, write_batch
from together_flows.datasets.json_line import UNREADABLE
from together_flows.datasets.lines import LineReader
from together_flows.datasets.report import ProblemLog
from together_flows.datasets.request_rows import RequestLine
from together_flows.datasets.request_source import RequestLines
from together_flows.datasets.storage import Location, open_source
from together_flows.errors import ArgumentInvalid, DatasetInvalid


class _MergedHead(msgspec.Struct, gc=False):
    custom_id: str
    index: int
    status: str


_read_head: Final = msgspec.json.Decoder(_MergedHead).decode


def repair_input(batch: BatchInput, merged_target: Location, directory: Path, *, marker: str = "") -> BatchInput | None:
    """Write a new batch of just the rows that failed or are missing, with the `custom_id`s they have.

    When it has run, merge the first batch again, with the result files of both: answers fill the gaps.

    Args:
        batch: the batch whose results were merged.
        merged_target: the file that `merge_results` wrote for it, a local path or an fsspec URL.
        directory: the folder of the new batch; another one than that of `batch`.
        marker: a token that makes the new files unique (see `salt`).

    Returns:
        The new batch, or `None` when every row succeeded.

    Raises:
        ArgumentInvalid: an argument does not fit, or there is no such file.
        DatasetInvalid: the file was not merged from this batch.
    """
    folder = Path(directory)
    if folder.resolve() == batch.directory.resolve():
        raise ArgumentInvalid(f"{folder} holds the batch itself.", mend="Give the repair a folder of its own.")
    manifest = new_manifest(
        name=batch.name,
        endpoint=batch.endpoint,
        marker=marker,
        max_rows=batch.max_rows,
        max_bytes=batch.max_bytes,
    )
    log = ProblemLog()
    with open_source(merged_target) as stream:
        heads = _read_heads(LineReader(stream, hashed=False), merged_target)
        lines = _lines_to_repair(batch, heads, merged_target, log)
        first = next(lines, None)
        if first is None:
            return None
        write_batch(itertools.chain([first], lines), folder, manifest, log, os.fspath(merged_target))
    return BatchInput.load(folder)


def _read_heads(reader: LineReader, merged_target: Location) -> Iterator[tuple[int, _MergedHead]]:
    for number, line in enumerate(reader, 1):
        try:
            yield number, _read_head(line)
        except UNREADABLE as error:
            raise _no_merge(merged_target, f"line {number} is no line of a merge") from error


def _lines_to_repair(
    batch: BatchInput, heads: Iterator[tuple[int, _MergedHead]], merged_target: Location, log: ProblemLog
) -> RequestLines:
    """Go through the merged lines and the batch side by side: both are in the order of the rows."""
    rules = RequestRules(batch.endpoint)
    rows = enumerate(zip(batch.read_rows(), batch.read_requests(), strict=True))
    for number, head in heads:
        row, request_line = next((pair for index, pair in rows if index == head.index), (None, b""))
        if row is None or row.custom_id != head.custom_id:
            raise _no_merge(merged_target, f"line {number} is about a row that the batch has not, or not there")
        if head.status == "succeeded":
            continue
        request = rules.read(request_line, log.at(number))
        if request is not None:
            yield number, RequestLine(request_line, request, row.columns)


def _no_merge(merged_target: Location, reason: str) -> DatasetInvalid:
    return DatasetInvalid(
        f"{os.fspath(merged_target)} was not merged from this batch: {reason}.",
        mend="Give the file that merge_results wrote for it.",
    )
