"""One running upload or download: how far it is, whether to go on, and what its files may be called."""

from __future__ import annotations

import threading
import time
import unicodedata
from collections.abc import Callable
from email.message import Message

from together_flows.client.retry import waits_are_instant
from together_flows.errors import TransferIncomplete

__all__ = ["BLOCK", "Transfer", "name_in_disposition", "safe_name"]

BLOCK = 1024 * 1024
"""Bytes read, hashed and sent at a time. Larger blocks were no faster when measured, smaller ones cost more CPU."""

Progress = Callable[[int, int], None]

_PROGRESS_INTERVAL = 0.2  # seconds; fast enough for a bar, slow enough for a log

_LONGEST_NAME = 200  # bytes; file systems allow 255, and ".part" must fit behind it


class Transfer:
    """The course of one transfer. It may be advanced from several threads.

    Args:
        total: bytes in all; 0 while that is not known.
        on_progress: called with the bytes so far and the bytes in all: at most five times a second, and at the end.
            After a failed attempt the first number can go back.
        stop: set by another thread to end the transfer at its next block.
    """

    def __init__(
        self, total: int = 0, *, on_progress: Progress | None = None, stop: threading.Event | None = None
    ) -> None:
        self.total = total
        self.done = 0
        self._on_progress = on_progress
        self._stop = stop or threading.Event()
        self._lock = threading.Lock()
        self._told_at = -_PROGRESS_INTERVAL

    def advance(self, size: int) -> None:
        """Count further bytes.

        Raises:
            TransferIncomplete: the transfer was stopped.
        """
        self.check()
        with self._lock:
            self.done += size
            now = time.monotonic()
            if self._on_progress is not None and now - self._told_at >= _PROGRESS_INTERVAL:
                self._told_at = now
                self._on_progress(self.done, self.total)

    def take_back(self, size: int) -> None:
        """Uncount bytes of an attempt that failed."""
        with self._lock:
            self.done -= size

    def finish(self) -> None:
        """Tell that all bytes have arrived."""
        if self._on_progress is not None:
            self._on_progress(self.total, self.total)

    def stop(self) -> None:
        """End the transfer at its next block, in all threads."""
        self._stop.set()

    def check(self) -> None:
        """Go on, unless the transfer was stopped.

        Raises:
            TransferIncomplete: it was.
        """
        if self._stop.is_set():
            raise TransferIncomplete("The transfer was stopped before it was complete.")

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the transfer is stopped."""
        if not waits_are_instant():
            self._stop.wait(seconds)


def safe_name(given: str, *, fallback: str) -> str:
    """A plain file name from a name that somebody else chose: it can lead nowhere, hide nothing and fits the disk.

    Args:
        given: any text.
        fallback: a plain name, for when nothing usable is left.
    """
    name = unicodedata.normalize("NFC", given).replace("\\", "/").rpartition("/")[2]
    name = "".join(letter for letter in name if letter.isprintable()).strip(" .")
    if len(name.encode()) > _LONGEST_NAME:
        stem, dot, suffix = name.rpartition(".")
        suffix = f"{dot}{suffix}" if stem and len(suffix.encode()) <= 16 else ""
        room = _LONGEST_NAME - len(suffix.encode())
        name = (stem or name).encode()[:room].decode(errors="ignore").rstrip(" .") + suffix
    return name or fallback


def name_in_disposition(header: str) -> str:
    """The file name in a `Content-Disposition` header; empty when there is none."""
    message = Message()
    message["Content-Disposition"] = header
    return message.get_filename("") or ""
