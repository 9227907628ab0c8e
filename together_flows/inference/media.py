"""Pictures, sound and videos that rows make: each gets a file of its own beside the output."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from together_flows.client import download_signed
from together_flows.errors import TogetherError, TransferIncomplete
from together_flows.inference.answers import Address, suffix_of
from together_flows.inference.places import Place
from together_flows.inference.requests import Asked

__all__ = ["MediaFolder", "file_stem"]

_LONGEST_STEM = 80
"""Characters of a `custom_id` that its file's name shows. File systems allow 255 bytes for a name."""

_DOWNLOADS = 8
"""Most downloads at once: each holds a thread and a connection."""

_HEAD_BYTES = 12
_odd: Final = re.compile(r"[^A-Za-z0-9._-]+")


class MediaFolder:
    """Where media go. A context manager, because it downloads in threads of its own.

    Args:
        place: the folder. It is made with the first file.
        at_once: how many rows may want a file at the same time.
    """

    def __init__(self, place: Place, *, at_once: int = _DOWNLOADS) -> None:
        self._place = place
        self._threads = ThreadPoolExecutor(max(1, min(at_once, _DOWNLOADS)), thread_name_prefix="together-media")

    async def keep(self, asked: Asked, media: Sequence[bytes | Address]) -> list[str]:
        """Write what a row made into files, in constant memory, and answer with their paths.

        Raises:
            TogetherError: something could not be fetched.
        """
        loop = asyncio.get_running_loop()
        stem, paths = file_stem(asked), []
        for number, medium in enumerate(media):
            part = f"{stem}-{number}" if len(media) > 1 else stem
            paths.append(await loop.run_in_executor(self._threads, self._kept, part, medium))
        return paths

    def _kept(self, stem: str, medium: bytes | Address) -> str:
        if isinstance(medium, bytes):
            place = self._place.child(f"{stem}.{suffix_of(medium)}")
            with place.replacing() as stream:
                stream.write(medium)
            return str(place)
        with tempfile.TemporaryDirectory(prefix="together-flows-") as folder:
            fetched = Path(folder) / "medium"
            _download(medium.url, fetched)
            place = self._place.child(f"{stem}.{_suffix_of_file(fetched)}")
            place.take(fetched)
        return str(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)


def file_stem(asked: Asked) -> str:
    """The name of a row's file without its suffix: the row's number, which nobody else has chosen, and its id.

    Only letters, digits, `.`, `_` and `-` of the id are kept, so that no id leads out of the folder, hides the file or
    meets another row's file, also where a file system does not tell capitals from small letters.
    """
    number = f"{asked.index:09d}"
    if asked.custom_id == f"row-{number}":
        return number
    shown = _odd.sub("-", asked.custom_id).strip("-.")[:_LONGEST_STEM].rstrip("-.")
    return f"{number}-{shown}" if shown else number


def _suffix_of_file(file: Path) -> str:
    with file.open("rb") as stream:
        return suffix_of(stream.read(_HEAD_BYTES))


def _download(url: str, target: Path) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise TransferIncomplete("The API's answer names no address that can be read from.", retryable=False)
    try:
        download_signed(url, target)
    except TogetherError as error:
        raise TransferIncomplete(
            f"What was made could not be fetched: {error}",
            mend="Another attempt fetches it again, and does not pay for it again.",
        ) from error
