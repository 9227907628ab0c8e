"""Writes a batch: shards within the API's limits, and what is needed to merge their results later.

The bytes depend on nothing but the rows and the arguments: writing the same batch again gives the same files.
"""

from __future__ import annotations

import os
import re
from array import array
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from together_flows.datasets.batch_files import (
    MANIFEST_NAME,
    MANIFEST_VERSION,
    HashedFile,
    InputRow,
    Manifest,
    ShardEntry,
    index_path,
    read_manifest,
    rows_path,
    shard_name,
)
from together_flows.datasets.batch_lines import MAX_FILE_BYTES, MAX_REQUESTS, note_repeated_id
from together_flows.datasets.marker import LONGEST_SPELLING, check_marker, may_be_marked, with_marker
from together_flows.datasets.report import ProblemLog
from together_flows.datasets.request_rows import RequestLine
from together_flows.datasets.request_source import RequestLines
from together_flows.datasets.row_index import RowIndexWriter
from together_flows.datasets.storage import open_target
from together_flows.datasets.tokens import tokens_of
from together_flows.errors import ArgumentInvalid

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")

_encode: Final = msgspec.json.Encoder().encode


class BatchWriter:
    """Takes request lines one by one. A context manager: what was not committed is gone when it ends.

    Once `log` holds a problem nothing more is written, but rows are still taken, so that all problems come to light.

    Args:
        directory: the folder of the batch; it is made when it is missing.
        manifest: the name, endpoint, marker and limits of the batch.
        log: where problems are noted.
    """

    def __init__(self, directory: Path, manifest: Manifest, log: ProblemLog) -> None:
        self._directory = directory
        self._manifest = manifest
        self._log = log
        self._marker_bytes = len(with_marker(b"{", manifest.marker)) - 1
        # A full shard that is marked when it is submitted must still be within the API's limit.
        self._max_bytes = min(manifest.max_bytes, MAX_FILE_BYTES - LONGEST_SPELLING)
        self._models: dict[str, None] = {}
        self._text_bytes = 0
        self._messages = 0
        self._index = RowIndexWriter()
        self._source_lines = array("Q")
        directory.mkdir(parents=True, exist_ok=True)
        self._scratch = directory / f".{manifest.name}.{os.getpid()}-{os.urandom(4).hex()}.part"
        self._scratch.mkdir()
        self._rows_file = HashedFile(rows_path(self._scratch, manifest.name))
        self._shard: HashedFile | None = None

    def __enter__(self) -> BatchWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rows_file.close()
        if self._shard is not None:
            self._shard.close()
        for left in self._scratch.iterdir():
            left.unlink()
        self._scratch.rmdir()

    @property
    def rows(self) -> int:
        """Rows taken so far."""
        return len(self._source_lines)

    def add(self, source_line: int, row: RequestLine) -> None:
        """Take one row; `source_line` is where it comes from."""
        request, line = row.request, row.line
        self._index.add(request.custom_id)
        self._source_lines.append(source_line)
        if may_be_marked(line):
            line = with_marker(line, "")
        if len(line) + 1 + self._marker_bytes > self._max_bytes:
            message = f"The request has {len(line):,} bytes; a shard takes {self._max_bytes:,}."
            self._log.add(source_line, "", message, "Shorten it.")
        if self._log.count:
            return
        self._models[request.model] = None
        self._text_bytes += request.text_bytes
        self._messages += request.messages
        self._write(line)
        self._rows_file.write_line(_encode(InputRow(request.custom_id, row.columns)))

    def commit(self) -> None:
        """Put everything into place, unless there are problems: those are in the log then."""
        for first, second in self._index.sort():
            note_repeated_id(self._source_lines[second], self._source_lines[first], self._log)
        if self._log.count:
            return
        self._finish_shard()
        self._rows_file.close()
        manifest = self._manifest
        manifest.rows = self.rows
        manifest.models = list(self._models)
        manifest.approximate_tokens = tokens_of(self._text_bytes, self._messages)
        self._index.write(index_path(self._scratch, manifest.name))
        self._put_into_place()

    def _write(self, line: bytes) -> None:
        limits = self._manifest
        shard = self._shard
        if shard is None or shard.rows == limits.max_rows or shard.bytes + len(line) + 1 > self._max_bytes:
            self._finish_shard()
            shard = self._shard = HashedFile(self._scratch / shard_name(limits.name, len(limits.shards)))
            line = with_marker(line, limits.marker)
        shard.write_line(line)

    def _finish_shard(self) -> None:
        shard = self._shard
        if shard is None:
            return
        shard.close()
        shards = self._manifest.shards
        first_row = shards[-1].first_row + shards[-1].rows if shards else 0
        shards.append(ShardEntry(shard.path.name, shard.rows, shard.bytes, shard.sha256, first_row))
        self._shard = None

    def _put_into_place(self) -> None:
        earlier = read_manifest(self._directory)
        (self._directory / MANIFEST_NAME).unlink(missing_ok=True)
        for file in self._scratch.iterdir():
            file.replace(self._directory / file.name)
        with open_target(self._directory / MANIFEST_NAME) as stream:
            stream.write(msgspec.json.format(_encode(self._manifest), indent=2) + b"\n")
        if earlier is not None:
            self._remove_stale(earlier)

    def _remove_stale(self, earlier: Manifest) -> None:
        """Remove what an earlier batch in this folder had and this one does not."""
        stale = set(_file_names(earlier)) - set(_file_names(self._manifest))
        for name in stale:
            (self._directory / Path(name).name).unlink(missing_ok=True)


def write_batch(lines: RequestLines, directory: Path, manifest: Manifest, log: ProblemLog, source: str) -> None:
    """Write all lines as one batch, or nothing.

    Raises:
        DatasetInvalid: there are problems, or no lines.
    """
    with BatchWriter(directory, manifest, log) as writer:
        for source_line, line in lines:
            writer.add(source_line, line)
        if writer.rows == 0 and log.count == 0:
            log.add(0, "", "There are no rows.", "Give at least one.")
        writer.commit()
    if log.count:
        raise log.invalid(f"{source} cannot be sent as a batch")


def new_manifest(*, name: str, endpoint: str, marker: str, max_rows: int, max_bytes: int) -> Manifest:
    """The manifest of a batch that is about to be written.

    Raises:
        ArgumentInvalid: a limit is beyond the API's, or the name or the marker cannot be used.
    """
    if not _NAME.fullmatch(name):
        mend = "Use 1 to 100 letters, digits, hyphens, underscores and dots, the first no dot."
        raise ArgumentInvalid(f"name: {name!r} cannot name files.", mend=mend)
    if not 1 <= max_rows <= MAX_REQUESTS:
        raise ArgumentInvalid(f"max_rows: {max_rows} is out of range.", mend=f"Use 1 to {MAX_REQUESTS}.")
    if not 1 <= max_bytes <= MAX_FILE_BYTES:
        raise ArgumentInvalid(f"max_bytes: {max_bytes} is out of range.", mend=f"Use 1 to {MAX_FILE_BYTES}.")
    check_marker(marker)
    return Manifest(
        version=MANIFEST_VERSION,
        name=name,
        endpoint=endpoint,
        marker=marker,
        max_rows=max_rows,
        max_bytes=max_bytes,
    )


def _file_names(manifest: Manifest) -> list[str]:
    sidecars = (rows_path(Path(), manifest.name).name, index_path(Path(), manifest.name).name)
    return [shard.file for shard in manifest.shards] + list(sidecars)
