"""Files of the account: their bytes on disk, their records, and the check that makes them usable."""

from __future__ import annotations

import hashlib
import math
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from together_flows.emulator.dataset_check import Report, check_file
from together_flows.emulator.jobs import Job, JobKind, Stage
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.world import World

__all__ = [
    "FILES",
    "File",
    "begin_check",
    "content_path",
    "find_complete",
    "hashed_write",
    "landed",
    "new_file",
    "publish",
    "usable",
]

FILE_TYPES = {"csv", "jsonl", "parquet"}
UPLOADED_PURPOSES = {"fine-tune", "calibration", "eval", "batch-api"}

CHECK_SECONDS = 5.0
"""How long the service takes to check a small file, and per 100 MB of a larger one."""

_AWAITING = "AWAITING_UPLOAD"


class File(Job, kw_only=True):
    """A file: first promised, then uploaded, then checked.

    Attributes:
        token: the secret in its presigned URL.
        checksum: the SHA-256 that was announced, or that its bytes have.
        parts: how many parts a multipart upload has; 0 for a single one.
        checked: whether its purpose is one that is checked.
    """

    filename: str
    purpose: str
    file_type: str
    token: str
    checksum: str = ""
    bytes: int = 0
    parts: int = 0
    checked: bool = True
    report: Report = msgspec.field(default_factory=Report)

    @property
    def uploaded(self) -> bool:
        return self.visible != math.inf


class _Files(JobKind[File]):
    name = "file"
    noun = "File"
    active = frozenset({"PENDING", "QUEUED", "RUNNING"})
    failure = "FAILED"
    tick = math.inf
    record = File

    def key(self, job: File) -> str:
        return job.token

    def row(self, world: World, job: File, now: float) -> dict[str, Any]:
        status = job.status(now).replace(_AWAITING, "PENDING")
        row: dict[str, Any] = {
            "id": job.id,
            "object": "file",
            "created_at": world.clock.epoch(job.created),
            "filename": job.filename,
            "bytes": job.bytes,
            "purpose": job.purpose,
            "Processed": status == "COMPLETED",
            "FileType": job.file_type,
        }
        if job.checked:
            row["processing_status"] = status
            if status in ("COMPLETED", "INVALID_FORMAT"):
                row["validation_report"] = job.report.view()
            elif status == "FAILED":
                row["validation_report"] = {"valid": False, "error": job.error}
        return row

    def work(self, world: World, job: File) -> Report:
        return check_file(content_path(world, job.id), purpose=job.purpose, file_type=job.file_type)

    def settle(self, world: World, job: File, result: Report, now: float) -> None:
        job.report = result
        job.error = result.error
        job.stages.append(Stage("INVALID_FORMAT" if result.error else "COMPLETED", max(job.planned_end, now)))


FILES = _Files()


def new_file(world: World, *, filename: str, purpose: str, file_type: str, checksum: str = "", parts: int = 0) -> File:
    """Promises a file: it has an id and an upload URL, and no bytes yet.

    Raises:
        Refusal: 400, the purpose or the type is none that can be uploaded.
    """
    if not filename:
        raise Refusal(400, "file_name is required.", param="file_name")
    if purpose not in UPLOADED_PURPOSES:
        raise Refusal(400, f"Invalid file purpose: {purpose!r}. Allowed: {', '.join(sorted(UPLOADED_PURPOSES))}.")
    if file_type not in FILE_TYPES:
        raise Refusal(400, f"Invalid file type: {file_type!r}. Allowed: {', '.join(sorted(FILE_TYPES))}.")
    now = world.clock.now()
    file = File(
        id=f"file-{uuid.uuid4()}",
        created=now,
        visible=math.inf,
        stages=[Stage(_AWAITING, now)],
        filename=filename,
        purpose=purpose,
        file_type=file_type,
        token=uuid.uuid4().hex,
        checksum=checksum,
        parts=parts,
    )
    world.table(FILES).add_uncounted(file)
    return file


def landed(world: World, file: File, *, size: int, checksum: str) -> None:
    """The bytes of a promised file are there: from now on it exists for the account."""
    born = world.born()
    file.visible = born.visible
    file.bytes, file.checksum = size, checksum
    file.stages = [Stage("PENDING", born.created)]
    world.table(FILES).save_created(file)


def begin_check(world: World, file: File) -> None:
    """Starts the check of an uploaded file, once."""
    if not file.uploaded or not file.checked or not file.computed or len(file.stages) > 1:
        return
    now = world.clock.now()
    file.stages += [Stage("QUEUED", now + 1), Stage("RUNNING", now + 2)]
    file.planned_end = now + CHECK_SECONDS * max(1.0, file.bytes / 1e8)
    world.table(FILES).begin_work(file)


def publish(world: World, file_id: str, *, filename: str, purpose: str, visible: float) -> None:
    """Shows the account a file whose bytes the service itself has written, from the moment `visible` on.

    A file without bytes is not shown, and one that was shown before is taken back.
    """
    path = content_path(world, file_id)
    table = world.table(FILES)
    known = table.find(file_id)
    if known is not None:
        table.remove(known)
    size = path.stat().st_size if path.exists() else 0
    if not size:
        path.unlink(missing_ok=True)
        return
    table.add_uncounted(
        File(
            id=file_id,
            created=visible,
            visible=visible,
            stages=[Stage("COMPLETED", visible)],
            filename=filename,
            purpose=purpose,
            file_type="jsonl",
            token="",
            bytes=size,
            checked=False,
        )
    )


def find_complete(world: World, *, checksum: str, purpose: str) -> File | None:
    """The uploaded file with these very bytes and this purpose, if the account has one."""
    if not checksum:
        return None
    return next((f for f in world.table(FILES) if f.checksum == checksum and f.purpose == purpose and f.uploaded), None)


def usable(world: World, file_id: str, *, field: str) -> File:
    """The file a request names.

    Raises:
        Refusal: 400, there is no such file, or nothing was uploaded to it.
    """
    file = world.table(FILES).find(file_id)
    if file is None or not file.uploaded:
        raise Refusal(400, f"{field}: file {file_id} was not found.", param=field, code="file_not_found")
    return file


def content_path(world: World, file_id: str) -> Path:
    """Where the bytes of a file lie."""
    return world.path("files", file_id)


async def hashed_write(chunks: AsyncIterator[bytes], target: Path) -> tuple[int, str, str]:
    """Writes a stream to disk as it comes.

    Returns:
        Its size, its SHA-256 and its MD5, both in hexadecimal.
    """
    sha, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with target.open("wb") as file:
        async for chunk in chunks:
            file.write(chunk)
            sha.update(chunk)
            md5.update(chunk)
            size += len(chunk)
    return size, sha.hexdigest(), md5.hexdigest()
