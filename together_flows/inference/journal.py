"""The journal of a fan-out: what has come of each row so far, so that no crash makes anybody pay for it again.

It lies beside the target: a part file on this machine, or a folder of segments in object storage, which cannot append.
The invariants:

- A row is journaled as soon as it has an outcome, before another one takes its place. On this machine that survives
  the death of the process at once; in object storage it survives from the next `keep_safe` on.
- A row whose answer was under way when the process died is not in the journal. It is sent again.
- An entry counts only for the request it was made for: rows that have changed since are sent again.
- An answer whose media are still to be fetched is journaled before they are: it is paid, and only the fetching is
  done again. Such an entry holds the addresses, which expire; it goes with the journal.
- It holds answers, errors and digests of requests, never a request and never a secret of the account.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
import threading
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import msgspec

from together_flows.datasets.storage import COPY_BYTES
from together_flows.errors import TogetherError
from together_flows.inference.places import Place
from together_flows.jobs.record import JobRecord

__all__ = ["Entry", "Journal", "JournalStore"]

_NO_ROW = -1
"""The digest of a line that says whose journal it is."""

_EMPTY, _FAILED, _FINAL, _SUCCEEDED = range(4)


class Entry(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One line of the journal: what came of a row, or the record of the job that works on it, or a paid answer.

    Attributes:
        index: the row's position, from 0.
        digest: of the request.
        succeeded: whether there is an answer.
        final: whether a failed row must not be sent again, because it may have been paid.
        prompt_tokens: tokens that were read.
        completion_tokens: tokens that were written.
        cost_usd: what it cost in US dollars, where that is known.
        output: the row's line in the output.
        record: of its job.
        unfetched: an answer that is paid, and whose media have not been fetched yet.
        owner: whose journal it is from here on; such a line is of no row.
        unfinished: a failed row whose job or answer is there, so that only its media are to be fetched.
    """

    index: int
    digest: int
    succeeded: bool = False
    final: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    output: msgspec.Raw = msgspec.Raw(b"")
    record: dict[str, Any] | None = None
    unfetched: dict[str, Any] | None = None
    unfinished: bool = False
    owner: str = ""


_read: Final = msgspec.json.Decoder(Entry).decode
_written: Final = msgspec.json.Encoder().encode


class Journal:
    """What has come of the rows so far. A context manager; it takes 17 bytes of memory a row.

    Only one process at a time may write to a target on this machine.

    Args:
        target: where the output will be.
        owner: names the intention that the rows are settled for.
        fresh: forget what was journaled for another intention.

    Raises:
        TogetherError: another process writes to the same target.
    """

    def __init__(self, target: Place, *, owner: str = "", fresh: bool = False) -> None:
        self._owner, self._former_owner, self._fresh = owner, "", fresh
        self._kept = target.sibling(f".{target.name}.part")
        self._scratch = Path(tempfile.mkdtemp(prefix="together-flows-")) if target.is_remote else None
        self._path = self._scratch / "journal" if self._scratch else Path(str(self._kept))
        self._file = -1
        self._size = self._safe = 0
        self._forget()
        self._writing, self._keeping = threading.Lock(), threading.Lock()  # records come from other threads

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._take_over()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._file >= 0 and self._size:
                self.keep_safe()
            elif self._file >= 0:
                self.remove()
        finally:
            self._close()

    def settles(self, index: int, digest: int) -> bool:
        """Whether nothing more is to be sent for a row: it has an answer, or must not be sent again."""
        return self._state(index, digest) >= _FINAL

    def add(self, entry: Entry) -> None:
        """Write down what came of a row."""
        place = self._append(entry)
        self._note(entry, place)

    def entry(self, index: int) -> Entry | None:
        """What came of a row; `None` if nothing has yet."""
        if index >= len(self._states) or self._states[index] == _EMPTY:
            return None
        return _read(self._line_at(self._places[index]))

    def entries(self) -> Iterator[Entry]:
        """The last entry of every row that has one, in the order of the rows, one at a time."""
        return (entry for index in range(len(self._states)) if (entry := self.entry(index)) is not None)

    def record(self, index: int, digest: int) -> JobRecord | None:
        """The record of the job that works on a row."""
        entry = self._records.get(index)
        if entry is None or entry.digest != digest or entry.record is None:
            return None
        return JobRecord.from_dict(entry.record)

    def add_record(self, index: int, digest: int, record: JobRecord) -> None:
        """Write down a job's record; it is safe when this returns."""
        entry = Entry(index=index, digest=digest, record=record.to_dict())
        self._append(entry)
        self._records[index] = entry
        self.keep_safe()

    def unfetched(self, index: int, digest: int) -> Entry | None:
        """The paid answer of a row whose media have not been fetched yet."""
        if index not in self._unfetched:
            return None
        entry = _read(self._line_at(self._unfetched[index]))
        return entry if entry.digest == digest else None

    def add_unfetched(self, entry: Entry) -> None:
        """Write down an answer before its media are fetched; it is safe when this returns. It blocks."""
        self._note(entry, self._append(entry))
        self.keep_safe()

    def keep_safe(self) -> None:
        """Make what was written survive this machine, as far as the storage does. It blocks; any thread may call it."""
        with self._keeping:
            size = self._size
            if size == self._safe:
                return
            if not self._kept.is_remote:
                os.fdatasync(self._file)
            else:
                name = f"{self._segment:06d}-{secrets.token_hex(4)}.jsonl"
                with self._kept.child(name).replacing() as segment:
                    self._copy(self._safe, size, segment)
                self._segment += 1
            self._safe = size

    def remove(self) -> None:
        """Forget everything: the output is complete."""
        self._close()
        self._kept.remove()

    def _take_over(self) -> None:
        """Go on from what an earlier process has left."""
        self._segment = 0
        if self._kept.is_remote:
            for segment in self._kept.children():
                with segment.open() as stream, self._path.open("ab") as spool:
                    spool.writelines(line for line in stream if line.endswith(b"\n"))
                self._segment += 1
        else:
            self._lock()
        self._read_all()
        if self._fresh and self._former_owner != self._owner:
            self._forget()
            if self._kept.is_remote:
                self._kept.remove()
        os.truncate(self._path, self._size)
        self._safe = self._size

    def _forget(self) -> None:
        self._states = bytearray()
        self._places = array("Q")
        self._digests = array("Q")
        self._records: dict[int, Entry] = {}
        self._unfetched: dict[int, int] = {}  # where their entries begin
        self._size = self._safe = 0

    def _read_all(self) -> None:
        with self._path.open("rb", buffering=COPY_BYTES) as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break  # the process died while it wrote this
                self._note(_read(line), self._size)
                self._size += len(line)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TogetherError(
                f"Another process sends the rows of {self._path} already.",
                mend="Wait for it or stop it: two would pay for the same rows.",
                retryable=True,
            ) from None

    def _note(self, entry: Entry, place: int) -> None:
        if entry.digest == _NO_ROW:
            self._former_owner = entry.owner
            return
        if entry.record is not None:
            self._records[entry.index] = entry
            return
        if entry.unfetched is not None:
            self._unfetched[entry.index] = place
            return
        missing = entry.index + 1 - len(self._states)
        if missing > 0:
            self._states.extend(bytes(missing))
            self._places.frombytes(bytes(8 * missing))
            self._digests.frombytes(bytes(8 * missing))
        self._states[entry.index] = _SUCCEEDED if entry.succeeded else _FINAL if entry.final else _FAILED
        self._places[entry.index] = place
        self._digests[entry.index] = entry.digest
        if not entry.unfinished:
            self._records.pop(entry.index, None)
            self._unfetched.pop(entry.index, None)

    def _state(self, index: int, digest: int) -> int:
        return self._states[index] if index < len(self._states) and self._digests[index] == digest else _EMPTY

    def _append(self, entry: Entry) -> int:
        """Write an entry at the end, and answer where that was."""
        line = _written(entry) + b"\n"
        with self._writing:
            if self._former_owner != self._owner:
                self._former_owner = self._owner
                self._write(_written(Entry(index=0, digest=_NO_ROW, owner=self._owner)) + b"\n")
            return self._write(line)

    def _write(self, line: bytes) -> int:
        place, left = self._size, memoryview(line)
        while left:
            left = left[os.write(self._file, left) :]
        self._size += len(line)
        return place

    def _line_at(self, place: int) -> bytes:
        length = 4096
        while True:
            block = os.pread(self._file, length, place)
            end = block.find(b"\n")
            if end >= 0:
                return block[:end]
            length *= 8

    def _copy(self, begin: int, end: int, target: IO[bytes]) -> None:
        while begin < end:
            block = os.pread(self._file, min(COPY_BYTES, end - begin), begin)
            target.write(block)
            begin += len(block)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


class JournalStore:
    """Keeps the job record of one row in the journal.

    Args:
        journal: where.
        index: the row.
        digest: of its request.
    """

    def __init__(self, journal: Journal, index: int, digest: int) -> None:
        self._journal = journal
        self._index = index
        self._digest = digest

    def load(self, key: str) -> JobRecord | None:
        """The record, or `None`."""
        return self._journal.record(self._index, self._digest)

    def save(self, key: str, record: JobRecord) -> None:
        """Keep a record, in place of the one before."""
        self._journal.add_record(self._index, self._digest, record)
