"""Uploads: a file of any size, in constant memory, and not twice when the API has its content already."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from together_flows.api import files
from together_flows.api._operation import Operation
from together_flows.api.files import File, MultipartUpload, UploadPart
from together_flows.client._storage import Storage
from together_flows.client._transfer import BLOCK, Transfer
from together_flows.errors import (
    AnswerInvalid,
    ArgumentInvalid,
    BadRequest,
    Conflict,
    NotFound,
    TogetherError,
    TransferIncomplete,
    UnprocessableRequest,
)

__all__ = ["PartPlan", "Source", "Uploader"]

GIB = 1024**3
MIB = 1024**2

LARGEST_FILE = int(50.1 * GIB)
"""Most bytes of a file: the limit of Together's own client."""

SINGLE_PUT_LIMIT = 5 * GIB
"""Bytes from which a file goes in parts: what object stores take in one PUT."""

FILE_TYPES = ("jsonl", "parquet", "csv")

_UNUSABLE = frozenset({"FAILED", "INVALID_FORMAT"})
_NOT_CHECKED = "PENDING"


@dataclass(frozen=True)
class Source:
    """A local file as it was when the upload began.

    Attributes:
        path: where it is.
        name: what it is called on the server.
        file_type: `jsonl`, `parquet` or `csv`, told from the name as the server does.
        size: bytes.
        changed_at: when it was last written, in nanoseconds.
    """

    path: Path
    name: str
    file_type: str
    size: int
    changed_at: int

    @classmethod
    def of(cls, path: str | Path, file_name: str | None = None) -> Source:
        """Look at a file.

        Raises:
            ArgumentInvalid: it is missing, empty or too large, or its name does not tell its type.
        """
        path = Path(path)
        name = file_name or path.name
        file_type = name.rpartition(".")[2].lower()
        if not path.is_file():
            raise ArgumentInvalid(f"There is no file {str(path)!r}.")
        if "." not in name or file_type not in FILE_TYPES:
            allowed = ", ".join(f".{known}" for known in FILE_TYPES)
            raise ArgumentInvalid(
                f"The server tells a file's type by its name, and {name!r} does not end in one of {allowed}.",
                mend="Rename the file or pass file_name=….",
            )
        state = path.stat()
        if not 0 < state.st_size <= LARGEST_FILE:
            raise ArgumentInvalid(f"{str(path)!r} has {state.st_size} bytes; allowed are 1 to {LARGEST_FILE}.")
        return cls(path, name, file_type, state.st_size, state.st_mtime_ns)

    def checksum(self, transfer: Transfer) -> str:
        """SHA-256 of the content, in hexadecimal."""
        digest = hashlib.sha256()
        for block in self.blocks(0, self.size):
            transfer.check()
            digest.update(block)
        return digest.hexdigest()

    def blocks(self, offset: int, size: int) -> Iterator[bytes]:
        """The bytes from an offset on, a block at a time.

        Raises:
            TransferIncomplete: the file has become shorter.
        """
        with self.path.open("rb", buffering=0) as file:
            file.seek(offset)
            while size > 0:
                block = file.read(min(BLOCK, size))
                if not block:
                    raise self._changed()
                yield block
                size -= len(block)

    def check_unchanged(self) -> None:
        """Go on, unless the file was written to since the upload began, so that nobody knows what was sent.

        Raises:
            TransferIncomplete: it was.
        """
        state = self.path.stat()
        if (state.st_size, state.st_mtime_ns) != (self.size, self.changed_at):
            raise self._changed()

    def _changed(self) -> TransferIncomplete:
        return TransferIncomplete(
            f"{str(self.path)!r} changed while it was uploaded.", mend="Upload it when nothing writes to it."
        )


@dataclass(frozen=True)
class PartPlan:
    """How a large file is cut: `count` parts of `part_size` bytes, the last of which may be shorter."""

    size: int
    count: int
    part_size: int

    @classmethod
    def of(cls, size: int, *, part_size: int = 250 * MIB, most: int = 250) -> PartPlan:
        """Cut a file as Together's own client does: parts of about 250 MiB, at most 250 of them."""
        even = math.ceil(size / min(most, math.ceil(size / part_size)))
        return cls(size=size, count=math.ceil(size / even), part_size=even)

    def span(self, number: int) -> tuple[int, int]:
        """Offset and size of a part, counted from 1."""
        offset = (number - 1) * self.part_size
        return offset, min(self.part_size, self.size - offset)


class Uploader:
    """Uploads files through the API's own flow: ask for an address, put the bytes there, have them checked.

    Args:
        send: sends an operation.
        storage: where the bytes go.
        single_put_limit: bytes from which a file goes in parts.
        part_size: bytes of a part.
        parallel: parts sent at the same time.
    """

    def __init__(
        self,
        send: Callable[[Operation[Any]], Any],
        storage: Storage,
        *,
        single_put_limit: int = SINGLE_PUT_LIMIT,
        part_size: int = 250 * MIB,
        parallel: int = 4,
    ) -> None:
        self._send = send
        self._storage = storage
        self._single_put_limit = single_put_limit
        self._part_size = part_size
        self._parallel = parallel

    def upload(self, source: Source, *, purpose: str, checksum: str | None, transfer: Transfer) -> File:
        """Upload a file, or find the one that the API already has with this content and purpose.

        Raises:
            TransferIncomplete: the bytes could not be stored, or the file changed meanwhile.
            ApiError: the API refused the file.
        """
        way = self._in_one if source.size <= self._single_put_limit else self._in_parts
        try:
            file = way(source, purpose, checksum or source.checksum(transfer), transfer)
        except Conflict as conflict:
            existing = self._existing(conflict, source, purpose)
            # Content that the API has under another purpose, or has only in part, is uploaded without its checksum,
            # for with it the API would point to that other file again.
            file = existing if existing is not None else way(source, purpose, None, transfer)
        transfer.finish()
        return file

    def _in_one(self, source: Source, purpose: str, checksum: str | None, transfer: Transfer) -> File:
        target = self._send(
            files.create(
                file_name=source.name,
                purpose=purpose,
                file_type=source.file_type,
                checksum=checksum,
            )
        )
        self._put(target.url, source, 0, source.size, transfer)
        transfer.check()
        source.check_unchanged()
        answer: File = self._send(files.preprocess(target.file_id))
        return answer

    def _in_parts(self, source: Source, purpose: str, checksum: str | None, transfer: Transfer) -> File:
        plan = PartPlan.of(source.size, part_size=self._part_size)
        start = files.initiate_multipart(
            file_name=source.name,
            file_size=source.size,
            num_parts=plan.count,
            purpose=purpose,
            file_type=source.file_type,
            checksum=checksum,
        )
        # An upload that was begun twice costs nothing and leaves nothing.
        begun: MultipartUpload = self._send(replace(start, repeatable=True))
        try:
            arrived = self._put_parts(begun, source, plan, transfer)
            transfer.check()
            source.check_unchanged()
            answer = self._send(
                files.complete_multipart(upload_id=begun.upload_id, file_id=begun.file_id, parts=arrived)
            )
        except BaseException:
            with suppress(TogetherError):
                self._send(files.abort_multipart(upload_id=begun.upload_id, file_id=begun.file_id))
            raise
        return files.retrieve(begun.file_id).parse(answer.get("file") or answer)

    def _put_parts(
        self, begun: MultipartUpload, source: Source, plan: PartPlan, transfer: Transfer
    ) -> list[dict[str, Any]]:
        if sorted(part.part_number for part in begun.parts) != list(range(1, plan.count + 1)):
            raise AnswerInvalid("files.initiate_multipart: the answer does not hold an address for each part.")

        def put(part: UploadPart) -> dict[str, Any]:
            offset, size = plan.span(part.part_number)
            headers = self._put(part.url, source, offset, size, transfer, headers=part.headers)
            tag = headers.get("etag", "").removeprefix("W/").strip('"')
            if not tag:
                raise AnswerInvalid("PUT to storage: the answer has no ETag, without which parts cannot be joined.")
            return {"part_number": part.part_number, "etag": tag}

        with ThreadPoolExecutor(self._parallel, thread_name_prefix="together-upload") as pool:
            try:
                return list(pool.map(put, sorted(begun.parts, key=lambda part: part.part_number)))
            except BaseException:
                transfer.stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _put(
        self,
        url: str,
        source: Source,
        offset: int,
        size: int,
        transfer: Transfer,
        *,
        headers: dict[str, str] | None = None,
    ) -> Any:
        def counted() -> Iterator[bytes]:
            sent = 0
            try:
                for block in source.blocks(offset, size):
                    yield block
                    sent += len(block)
                    transfer.advance(len(block))
            finally:
                if sent < size:
                    transfer.take_back(sent)

        return self._storage.put(url, counted, size, headers=headers, pause=transfer.pause)

    def _existing(self, conflict: Conflict, source: Source, purpose: str) -> File | None:
        """The file that a 409 points to, if it can stand for this one."""
        file_id = conflict.body.get("file_id") if isinstance(conflict.body, dict) else None
        if not isinstance(file_id, str) or not file_id:
            raise conflict
        file: File = self._send(files.retrieve(file_id))
        same = file.bytes in (None, source.size) and file.purpose in ("", purpose)
        state = (file.processing_status or "").upper()
        if not same or state in _UNUSABLE:
            return None
        return self._checked(file) if state == _NOT_CHECKED else file

    def _checked(self, file: File) -> File | None:
        """A file whose upload may have died between its bytes and its check, which nobody else would ask for then."""
        try:
            checked: File = self._send(files.preprocess(file.id))
        except (BadRequest, Conflict, NotFound, UnprocessableRequest):  # its bytes are not there
            return None
        return checked
