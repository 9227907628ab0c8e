"""The file beside the target that a download grows in. It takes the target's place when it is whole, or vanishes."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import BinaryIO, Self

from together_flows.errors import TransferIncomplete

__all__ = ["PartFile"]


class PartFile:
    """`<target>.part`, held by one download at a time.

    Attributes:
        size: bytes written.
    """

    def __init__(self, target: Path, part: Path, file: BinaryIO) -> None:
        self._target = target
        self._part = part
        self._file = file
        self.size = 0

    @classmethod
    def beside(cls, target: Path) -> Self:
        """Begin an empty part file.

        Raises:
            TransferIncomplete: another download to the same target is running.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        file = _held(part)
        file.truncate(0)
        return cls(target, part, file)

    def write(self, block: bytes) -> None:
        """Append a block."""
        self._file.write(block)
        self.size += len(block)

    def restart(self) -> None:
        """Throw away what was written."""
        self._file.seek(0)
        self._file.truncate(0)
        self.size = 0

    def commit(self) -> Path:
        """Put the file in the target's place, in one step, and return the target."""
        self._file.flush()
        self._part.replace(self._target)
        self._file.close()
        return self._target

    def discard(self) -> None:
        """Remove the file, unless it was committed."""
        if not self._file.closed:
            self._part.unlink(missing_ok=True)
            self._file.close()


def _held(part: Path) -> BinaryIO:
    while True:
        # A link in this place would lead the bytes elsewhere.
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        file = os.fdopen(descriptor, "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise TransferIncomplete(
                f"Another download is writing {str(part)!r}.", mend="Wait until it has ended, or choose another target."
            ) from None
        except OSError:  # a file system without locks; nothing better can be had there
            return file
        # Between opening and locking, the holder before us may have moved the file to its target.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), part.stat()):
                return file
        file.close()
