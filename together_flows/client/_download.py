"""Downloads: a file of any size, in constant memory, resumed where it was cut, and in place only when it is whole."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import httpx2

from together_flows.client._connection import failures
from together_flows.client._part_file import PartFile
from together_flows.client._transfer import Transfer, name_in_disposition, safe_name
from together_flows.client.retry import Retries, may_repeat
from together_flows.errors import AnswerInvalid, ApiError, ConnectionFailed, TransferIncomplete

__all__ = ["Download"]

log = logging.getLogger(__name__)


class Download:
    """One download, in as many legs as the network breaks it into.

    Args:
        name: how messages call it.
        opened: sends the request with the given headers and returns the answer's head, or raises what it stands for.
        place: chooses the target from the headers of the first answer.
        expected_size: bytes that there must be in the end, if the caller knows.
        timeout: seconds without a byte after which the connection counts as broken.
        retries: how many legs may fail since the last one that brought a byte, that one counted; and the waits.
        transfer: counts the bytes.
    """

    def __init__(
        self,
        name: str,
        opened: Callable[[Mapping[str, str]], httpx2.Response],
        *,
        place: Callable[[Mapping[str, str]], Path],
        expected_size: int | None,
        timeout: float,
        retries: Retries,
        transfer: Transfer,
    ) -> None:
        self._name = name
        self._opened = opened
        self._place = place
        self._expected = expected_size
        self._timeout = timeout
        self._retries = retries
        self._transfer = transfer
        self._part: PartFile | None = None
        self._total = expected_size
        self._validator = ""
        self._resumable = True

    def run(self) -> Path:
        """Download the file and return where it is.

        Raises:
            TransferIncomplete: it could not be had whole. Nothing of it is left behind.
            ApiError: the API refused it.
            ConnectionFailed: the API could not be reached.
        """
        fruitless = 0
        try:
            while True:
                before = self._received
                try:
                    return self._leg()
                except (ConnectionFailed, ApiError) as error:
                    fruitless = 1 if self._received > before else fruitless + 1
                    self._pause_or_give_up(error, fruitless)
        finally:
            if self._part is not None:
                self._part.discard()

    @property
    def _received(self) -> int:
        return self._part.size if self._part is not None else 0

    def _leg(self) -> Path:
        with closing(self._opened(self._asking())) as response:
            if self._part is None:
                self._part = PartFile.beside(self._place(response.headers))
            self._continue_or_restart(response, self._part)
            with failures(self._name, self._timeout):
                for block in self._blocks(response):
                    self._part.write(block)
                    self._transfer.advance(len(block))
        self._check_size(self._part.size)
        path = self._part.commit()
        self._transfer.finish()
        return path

    def _asking(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}  # so that sizes and ranges are those of the file
        if self._received and self._resumable:
            headers["Range"] = f"bytes={self._received}-"
            if self._validator:
                headers["If-Range"] = self._validator
        return headers

    def _continue_or_restart(self, response: httpx2.Response, part: PartFile) -> None:
        if response.status_code == 206:
            start, total = _range_of(response.headers.get("content-range", ""))
            if start != part.size or total not in (None, self._total):
                raise AnswerInvalid(f"{self._name}: the server went on at another place than it was asked to.")
            return
        self._transfer.take_back(part.size)
        part.restart()
        tag = response.headers.get("etag", "")
        self._validator = "" if tag.startswith("W/") else tag
        self._resumable = response.headers.get("content-encoding", "identity") == "identity"
        length = response.headers.get("content-length", "")
        self._total = int(length) if length.isdecimal() and self._resumable else self._expected
        self._transfer.total = self._total or 0

    def _blocks(self, response: httpx2.Response) -> Iterator[bytes]:
        return response.iter_raw() if self._resumable else response.iter_bytes()

    def _check_size(self, size: int) -> None:
        if self._total is not None and size < self._total:
            raise ConnectionFailed(f"{self._name}: the answer ended after {size} of {self._total} bytes")
        for due in (self._total, self._expected):
            if due is not None and size != due:
                raise TransferIncomplete(f"{self._name}: {size} bytes came where {due} were due.")
        self._transfer.total = size

    def _pause_or_give_up(self, error: ConnectionFailed | ApiError, fruitless: int) -> None:
        if fruitless >= self._retries.attempts or not may_repeat(error, repeatable=True):
            if self._part is None:
                raise error
            total = "an unknown number of" if self._total is None else self._total
            raise TransferIncomplete(f"Only {self._received} of {total} bytes arrived ({error.message}).") from error
        asked = error.retry_after if isinstance(error, ApiError) else None
        seconds = self._retries.wait(fruitless, retry_after=asked)
        log.warning("%s after %d bytes; going on in %.1f s", error.message, self._received, seconds)
        self._transfer.pause(seconds)
        self._transfer.check()


def place_in(target: str | Path, *, file_name: str | None, fallback: str) -> Callable[[Mapping[str, str]], Path]:
    """How to choose the target of a download.

    Args:
        target: a file; or a folder, that is an existing one or a path that ends in a slash.
        file_name: the file's name in that folder. By default the server's own; it can never lead out of the folder.
        fallback: a plain name for when the server gives none.
    """
    path = Path(target)
    if not path.is_dir() and not str(target).endswith(("/", os.sep)):
        return lambda headers: path
    return lambda headers: (
        path / safe_name(file_name or name_in_disposition(headers.get("content-disposition", "")), fallback=fallback)
    )


def _range_of(header: str) -> tuple[int | None, int | None]:
    """First byte and total of a `Content-Range`; `None` for what it does not tell."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", header.strip())
    if match is None:
        return None, None
    return int(match[1]), None if match[2] == "*" else int(match[2])
