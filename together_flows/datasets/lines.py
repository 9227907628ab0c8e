"""Reads a stream once: in large blocks, hashed as they arrive, handed out line by line in constant memory."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK_BYTES = 1 << 20

MAX_IMAGES = 10
"""Images in one training sample. Source: the checks of Together's SDK 1.5."""

MAX_IMAGE_CHARACTERS = len("data:image/jpeg;base64,") + 4 * (10 << 20) // 3
"""One image of 10 MiB as a base64 data URL. Source: the checks of Together's SDK 1.5."""

MAX_LINE_BYTES = MAX_IMAGES * MAX_IMAGE_CHARACTERS + (16 << 20)
"""The longest line that is read, about 156 MB: a sample with all the images that are allowed, and 16 MiB of text."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class LineReader:
    """Iterates over the lines of a binary stream.

    Lines come as bytes with their line end. A line beyond `MAX_LINE_BYTES` comes cut off at one byte more than that,
    and the rest of it is skipped. `size` and `sha256` cover the whole stream once the iteration has ended or `drain`
    was called.

    Args:
        stream: a binary stream that supports `readinto`.
        hashed: whether to compute the sha256 on the way.
    """

    def __init__(self, stream: IO[bytes], *, hashed: bool = True) -> None:
        self._raw = _MeteredStream(stream, hashed=hashed)
        self._buffer = io.BufferedReader(self._raw, BLOCK_BYTES)

    @property
    def size(self) -> int:
        """Bytes read so far."""
        return self._raw.size

    @property
    def sha256(self) -> str:
        """Hash of what was read so far, in hex."""
        return self._raw.digest.hexdigest()

    def peek(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end, without moving on. At most a block can be seen."""
        return self._buffer.peek(count)[:count]

    def read(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end."""
        return self._buffer.read(count)

    def drain(self) -> None:
        """Read what is left, so that `size` and `sha256` are those of the whole stream."""
        while self.read(BLOCK_BYTES):
            pass

    def __iter__(self) -> Iterator[bytes]:
        readline = self._buffer.readline
        while line := readline(MAX_LINE_BYTES + 1):
            yield line
            if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                self._skip_to_line_end()

    def _skip_to_line_end(self) -> None:
        while piece := self._buffer.readline(BLOCK_BYTES):
            if piece.endswith(b"\n"):
                return


class _MeteredStream(io.RawIOBase):
    """Counts and hashes what passes through, while the blocks are still in the processor's cache."""

    def __init__(self, stream: IO[bytes], *, hashed: bool) -> None:
        self._stream = stream
        self._hashed = hashed
        self.digest = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        count: int = self._stream.readinto(view)  # type: ignore[attr-defined]  # IO[bytes] does not declare what every binary stream has
        if self._hashed:
            self.digest.update(view[:count])
        self.size += count
        return count
