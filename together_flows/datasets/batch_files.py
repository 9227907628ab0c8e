"""The files of a batch. A folder holds one batch:

- `<name>-00000.jsonl`, …: the shards, as they are uploaded;
- `<name>.rows`: one JSON object for each row, in order: its `custom_id`, and the columns that are not sent;
- `<name>.index`: the row of each `custom_id` (see `row_index`);
- `batch.json`: the manifest. It is written last: a folder without it holds no batch, only what a crash left.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

MANIFEST_NAME = "batch.json"
MANIFEST_VERSION = 1

_BLOCK_BYTES = 1 << 20


class ShardEntry(msgspec.Struct):
    """A shard, as the manifest names it."""

    file: str
    rows: int
    bytes: int
    sha256: str
    first_row: int


class Manifest(msgspec.Struct, kw_only=True):
    """What `batch.json` holds."""

    version: int
    name: str
    endpoint: str
    marker: str
    max_rows: int
    max_bytes: int
    rows: int = 0
    models: list[str] = []
    approximate_tokens: int = 0
    shards: list[ShardEntry] = []


class InputRow(msgspec.Struct, omit_defaults=True, gc=False):
    """What is remembered of one row beside its request.

    Attributes:
        custom_id: of its request.
        columns: the columns that are not sent; `None` when there are none.
    """

    custom_id: str
    columns: dict[str, Any] | None = None


def rows_path(directory: Path, name: str) -> Path:
    return directory / f"{name}.rows"


def index_path(directory: Path, name: str) -> Path:
    return directory / f"{name}.index"


def shard_name(name: str, number: int) -> str:
    return f"{name}-{number:05d}.jsonl"


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest of a folder; `None` when there is none that can be read."""
    try:
        return msgspec.json.decode((directory / MANIFEST_NAME).read_bytes(), type=Manifest)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError, UnicodeDecodeError):
        return None


class HashedFile:
    """A new file of lines that is hashed while it is written, a large block at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.bytes = 0
        self._digest = hashlib.sha256()
        self._stream = path.open("wb", buffering=0)
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    @property
    def sha256(self) -> str:
        """Of all that was written, in hex; complete after `close`."""
        return self._digest.hexdigest()

    def write_line(self, line: bytes) -> None:
        self._waiting += (line, b"\n")
        self.rows += 1
        size = len(line) + 1
        self.bytes += size
        self._waiting_bytes += size
        if self._waiting_bytes >= _BLOCK_BYTES:
            self._flush()

    def close(self) -> None:
        if not self._stream.closed:
            self._flush()
            self._stream.close()

    def _flush(self) -> None:
        block = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        self._waiting_bytes = 0
        self._digest.update(block)
        while block:
            block = block[self._stream.write(block) :]
