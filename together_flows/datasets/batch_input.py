"""`BatchInput`: the requests of a batch, sharded on disk, ready to be sent and to have their results merged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import msgspec

from together_flows.datasets import request_source
from together_flows.datasets.batch_files import MANIFEST_VERSION, InputRow, index_path, read_manifest, rows_path
from together_flows.datasets.batch_lines import CHAT_ENDPOINT, MAX_FILE_BYTES, MAX_REQUESTS
from together_flows.datasets.batch_writer import new_manifest, write_batch
from together_flows.datasets.lines import LineReader
from together_flows.datasets.report import ProblemLog
from together_flows.datasets.request_rows import RequestTemplate
from together_flows.datasets.row_index import ENTRY_BYTES, RowIndex
from together_flows.datasets.storage import Location, name_of, open_source
from together_flows.errors import ArgumentInvalid

_REWRITE = "Write the batch again with BatchInput.from_rows or from_file."

_read_row: Final = msgspec.json.Decoder(InputRow).decode


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a batch, to be uploaded with the purpose `batch-api`.

    Attributes:
        path: where it lies.
        rows: requests in it.
        bytes: its size.
        sha256: its hash in hex.
        first_row: the row of the batch that its first line is, from 0.
    """

    path: Path
    rows: int
    bytes: int
    sha256: str
    first_row: int


@dataclass(frozen=True, slots=True)
class BatchInput:
    """The requests of a batch, of any number, in shards that the API takes.

    Made by `from_rows` or `from_file`, and opened again, in another process too, by `load`. Only the shards' names and
    sizes are in memory.

    Attributes:
        directory: the folder that holds everything, and nothing but this batch.
        name: what the files' names begin with.
        endpoint: what the batch calls.
        marker: the token that makes the shards unique; empty for none (see `salt`).
        max_rows: the most requests a shard may have.
        max_bytes: the most bytes a shard may have.
        rows: requests in all shards.
        models: the models that the requests ask for, each once, in the order of appearance.
        approximate_tokens: of all prompts (see `estimate_tokens`).
        shards: the files to upload, in order.
    """

    directory: Path
    name: str
    endpoint: str
    marker: str
    max_rows: int
    max_bytes: int
    rows: int
    models: tuple[str, ...]
    approximate_tokens: int
    shards: tuple[Shard, ...]

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Mapping[str, Any] | str],
        directory: Path,
        *,
        model: str | None = None,
        endpoint: str = CHAT_ENDPOINT,
        system: str | None = None,
        defaults: Mapping[str, Any] | None = None,
        marker: str = "",
        max_rows: int = MAX_REQUESTS,
        max_bytes: int = MAX_FILE_BYTES,
        name: str = "batch",
    ) -> BatchInput:
        """Write a batch from rows. The rows are read once and not kept.

        A row is one of these:

        - a whole request, `{"custom_id": …, "body": {…}}`;
        - a body, `{"messages": […], …}`; with a `custom_id` if it likes;
        - `{"prompt": "…", …}`, or a plain string: turned into one user message. The other columns are not sent; they
          come back with the results.

        A row without a `custom_id` gets one from its position: `row-000000000`, `row-000000001`, … A NaN, which is how
        data frames say "no value", becomes null.

        Args:
            rows: any iterable.
            directory: the folder of the batch. A batch that is there already is replaced.
            model: the model for rows that name none.
            endpoint: what the batch calls. Prompts and `system` are for chat completions only.
            system: the system message for rows that begin with none.
            defaults: members of the body, such as `max_tokens`, for rows that do not set them.
            marker: a token that makes the files unique (see `salt`).
            max_rows: the most requests in a shard; the API takes 50,000.
            max_bytes: the most bytes in a shard; the API takes 100 MB.
            name: what the files' names begin with.

        Raises:
            DatasetInvalid: rows break the rules; all problems with their row, from 1, and column. Nothing is written.
            ArgumentInvalid: an argument does not fit.
        """
        template = RequestTemplate(endpoint=endpoint, model=model, system=system, defaults=defaults)
        manifest = new_manifest(name=name, endpoint=endpoint, marker=marker, max_rows=max_rows, max_bytes=max_bytes)
        log = ProblemLog()
        write_batch(request_source.from_rows(rows, template, log), Path(directory), manifest, log, "The rows")
        return cls.load(directory)

    @classmethod
    def from_file(
        cls,
        source: Location,
        directory: Path,
        *,
        model: str | None = None,
        endpoint: str = CHAT_ENDPOINT,
        system: str | None = None,
        defaults: Mapping[str, Any] | None = None,
        marker: str = "",
        max_rows: int = MAX_REQUESTS,
        max_bytes: int = MAX_FILE_BYTES,
        name: str = "batch",
    ) -> BatchInput:
        """Write a batch from a `.jsonl` file with one row a line, or a `.csv` file with a header and a column `prompt`.

        A row is what `from_rows` takes, and so are the other arguments. Lines that are complete requests already are
        taken over byte for byte, unless `system` or `defaults` ask for a look inside.

        Args:
            source: a local path or an fsspec URL.

        Raises:
            DatasetInvalid: lines break the rules; all problems with their line and column. Nothing is written.
            ArgumentInvalid: an argument does not fit, or there is no such file.
            ConfigurationInvalid: a URL was given and its storage cannot be reached from here.
        """
        template = RequestTemplate(endpoint=endpoint, model=model, system=system, defaults=defaults)
        manifest = new_manifest(name=name, endpoint=endpoint, marker=marker, max_rows=max_rows, max_bytes=max_bytes)
        read = _reader_of(source)
        log = ProblemLog()
        with open_source(source) as stream:
            lines = read(LineReader(stream, hashed=False), template, log)
            write_batch(lines, Path(directory), manifest, log, os.fspath(source))
        return cls.load(directory)

    @classmethod
    def load(cls, directory: Path) -> BatchInput:
        """Open a batch that was written before.

        Raises:
            ArgumentInvalid: the folder holds no complete batch.
        """
        folder = Path(directory)
        manifest = read_manifest(folder)
        if manifest is None or manifest.version != MANIFEST_VERSION:
            raise ArgumentInvalid(f"{folder} holds no batch that can be read.", mend=_REWRITE)
        shards = tuple(
            Shard(folder / entry.file, entry.rows, entry.bytes, entry.sha256, entry.first_row)
            for entry in manifest.shards
        )
        for shard in shards:
            _check_file(shard.path, shard.bytes)
        _check_file(index_path(folder, manifest.name), manifest.rows * ENTRY_BYTES)
        _check_file(rows_path(folder, manifest.name), None)
        return cls(
            directory=folder,
            name=manifest.name,
            endpoint=manifest.endpoint,
            marker=manifest.marker,
            max_rows=manifest.max_rows,
            max_bytes=manifest.max_bytes,
            rows=manifest.rows,
            models=tuple(manifest.models),
            approximate_tokens=manifest.approximate_tokens,
            shards=shards,
        )

    def index(self) -> RowIndex:
        """The index that finds the row of a `custom_id`; it takes 12 bytes of memory a row."""
        return RowIndex(index_path(self.directory, self.name), self.rows)

    def read_rows(self) -> Iterator[InputRow]:
        """The `custom_id` of every row and its columns that were not sent, in order, one at a time."""
        with rows_path(self.directory, self.name).open("rb") as stream:
            for line in stream:
                yield _read_row(line)

    def read_requests(self) -> Iterator[bytes]:
        """The request line of every row, in order, one at a time, without line end."""
        for shard in self.shards:
            with shard.path.open("rb") as stream:
                for line in stream:
                    yield line.rstrip(b"\n")


def _check_file(path: Path, size: int | None) -> None:
    if not path.is_file() or size not in (None, path.stat().st_size):
        raise ArgumentInvalid(f"{path} is missing or has changed.", mend=_REWRITE)


def _reader_of(source: Location) -> Callable[[LineReader, RequestTemplate, ProblemLog], request_source.RequestLines]:
    suffix = PurePosixPath(name_of(source)).suffix
    if suffix == ".jsonl":
        return request_source.from_json_lines
    if suffix == ".csv":
        return request_source.from_csv
    raise ArgumentInvalid(f"{os.fspath(source)} is no file of rows.", mend="Use a .jsonl or a .csv file.")
