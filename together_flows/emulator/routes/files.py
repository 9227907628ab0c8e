"""Files: announce, upload, check, list, read, delete."""

from __future__ import annotations

import hashlib
import shutil
import uuid
from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, Response

from together_flows.emulator.files import (
    FILES,
    File,
    begin_check,
    content_path,
    find_complete,
    landed,
    new_file,
)
from together_flows.emulator.gate import Call, Group
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.replies import data_list, json_reply
from together_flows.emulator.world import World

group = Group()
kinds = [FILES]

MAX_FILE_BYTES = int(50.1 * 2**30)
"""The size that the official SDK refuses to exceed."""


class Initiate(msgspec.Struct, kw_only=True):
    """The body of multipart/initiate."""

    file_name: str
    file_size: int
    num_parts: int
    purpose: str
    file_type: str = "jsonl"
    checksum: str | None = None


class Part(msgspec.Struct):
    part_number: int
    etag: str


class Complete(msgspec.Struct):
    """The body of multipart/complete."""

    upload_id: str
    file_id: str
    parts: list[Part]


class Abort(msgspec.Struct):
    """The body of multipart/abort."""

    upload_id: str
    file_id: str


@group.post("/files")
async def announce(call: Call) -> Response:
    """Step one of an upload: a form without a file is answered with the place to put the bytes."""
    form = await _form(call)
    checksum = form.get("checksum", "").lower()
    _refuse_duplicate(call.world, checksum, form.get("purpose", ""))
    file = new_file(
        call.world,
        filename=form.get("file_name", ""),
        purpose=form.get("purpose", ""),
        file_type=form.get("file_type", "jsonl"),
        checksum=checksum,
    )
    return Response(
        status_code=302,
        headers={"Location": _storage_url(call, file.token), "X-Together-File-Id": file.id},
    )


@group.post("/files/upload")
async def upload(call: Call) -> Response:
    """The short way: one form with the file in it."""
    async with call.form(max_files=1, max_fields=20) as form:
        content = form.get("file")
        if not isinstance(content, UploadFile):
            raise Refusal(400, "file is required.", param="file")
        fields = {key: value for key, value in form.items() if isinstance(value, str)}
        file = new_file(
            call.world,
            filename=fields.get("file_name", ""),
            purpose=fields.get("purpose", ""),
            file_type=fields.get("file_type", "jsonl"),
        )
        target = content_path(call.world, file.id)
        size, checksum = await anyio.to_thread.run_sync(_copy_hashed, content.file, target)
    if not size:
        call.world.table(FILES).remove(file)
        target.unlink()
        raise Refusal(400, "The file is empty.", param="file")
    landed(call.world, file, size=size, checksum=checksum)
    begin_check(call.world, file)
    return _row(call.world, file)


@group.post("/files/multipart/initiate")
async def initiate(call: Call) -> Response:
    """Begins an upload in parts."""
    wanted = await call.read(Initiate)
    if not 1 <= wanted.num_parts <= 10_000 or not 0 < wanted.file_size <= MAX_FILE_BYTES:
        raise Refusal(400, "num_parts must be 1 to 10000 and file_size above 0 and at most 50.1 GiB.")
    _refuse_duplicate(call.world, wanted.checksum or "", wanted.purpose)
    file = new_file(
        call.world,
        filename=wanted.file_name,
        purpose=wanted.purpose,
        file_type=wanted.file_type,
        checksum=(wanted.checksum or "").lower(),
        parts=wanted.num_parts,
    )
    parts = [
        {"PartNumber": number, "URL": _storage_url(call, f"{file.token}/{number}"), "Headers": {}}
        for number in range(1, wanted.num_parts + 1)
    ]
    return json_reply({"upload_id": file.token, "file_id": file.id, "parts": parts})


@group.post("/files/multipart/complete")
async def complete(call: Call) -> Response:
    """Joins the parts into the file."""
    wanted = await call.read(Complete)
    file = _upload_in_parts(call.world, wanted.file_id, wanted.upload_id)
    if [part.part_number for part in wanted.parts] != list(range(1, file.parts + 1)):
        raise Refusal(400, f"All parts from 1 to {file.parts} must be named, in order.", param="parts")
    folder = call.world.path("uploads", file.token)
    target = content_path(call.world, file.id)
    size, checksum = await anyio.to_thread.run_sync(_join_parts, folder, target, wanted.parts)
    if file.checksum and file.checksum != checksum:
        target.unlink()
        raise Refusal(400, "The parts do not have the announced checksum.", param="checksum")
    landed(call.world, file, size=size, checksum=checksum)
    begin_check(call.world, file)
    shutil.rmtree(folder, ignore_errors=True)
    return json_reply({"file": FILES.row(call.world, file, call.world.clock.now())})


@group.post("/files/multipart/abort")
async def abort(call: Call) -> Response:
    """Gives an upload in parts up."""
    wanted = await call.read(Abort)
    file = _upload_in_parts(call.world, wanted.file_id, wanted.upload_id)
    call.world.table(FILES).remove(file)
    shutil.rmtree(call.world.path("uploads", file.token), ignore_errors=True)
    return json_reply({"file_id": file.id, "aborted": True})


@group.post("/files/{id}/preprocess")
async def preprocess(call: Call) -> Response:
    """Step three of an upload: the bytes are there, check them."""
    file = call.world.table(FILES).get(call.path_params["id"])
    if not file.uploaded:
        raise Refusal(400, f"Nothing was uploaded to {file.id} yet.")
    begin_check(call.world, file)
    return _row(call.world, file)


@group.get("/files")
async def list_files(call: Call) -> Response:
    """Every file of the account."""
    return data_list(call.world.table(FILES).rows(call.world.clock.now()))


@group.get("/files/{id}")
async def retrieve(call: Call) -> Response:
    """One file."""
    return _row(call.world, call.world.table(FILES).get(call.path_params["id"]))


@group.delete("/files/{id}")
async def delete(call: Call) -> Response:
    """Deletes the record and the bytes."""
    table = call.world.table(FILES)
    file = table.get(call.path_params["id"])
    table.remove(file)
    content_path(call.world, file.id).unlink(missing_ok=True)
    if file.uploaded:
        table.count_cancelled()
    return json_reply({"id": file.id, "deleted": True})


@group.get("/files/{id}/content")
async def content(call: Call) -> Response:
    """The bytes, whole or a range of them."""
    file = call.world.table(FILES).get(call.path_params["id"])
    if not file.uploaded:
        raise Refusal(404, f"File {file.id} has no content yet.", code="not_found")
    return FileResponse(content_path(call.world, file.id), media_type="application/octet-stream")


def _row(world: World, file: File) -> Response:
    return json_reply(FILES.row(world, file, world.clock.now()))


async def _form(call: Call) -> dict[str, str]:
    async with call.form(max_files=0, max_fields=20) as form:
        return {key: value for key, value in form.items() if isinstance(value, str)}


def _refuse_duplicate(world: World, checksum: str, purpose: str) -> None:
    known = find_complete(world, checksum=checksum.lower(), purpose=purpose)
    if known is not None:
        raise Refusal(409, "This file exists already.", body={"file_id": known.id, "message": "file already exists"})


def _storage_url(call: Call, path: str) -> str:
    return f"{str(call.base_url).rstrip('/')}/_storage/{path}"


def _upload_in_parts(world: World, file_id: str, upload_id: str) -> File:
    file = world.table(FILES).get(file_id)
    if file.token != upload_id or not file.parts or file.uploaded:
        raise Refusal(404, f"Upload not found: {upload_id}", code="not_found")
    return file


def _copy_hashed(source: Any, target: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with target.open("wb") as file:
        while chunk := source.read(2**20):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _join_parts(folder: Path, target: Path, parts: list[Part]) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    joined = folder / f"joined-{uuid.uuid4().hex}"
    with joined.open("wb") as file:
        for part in parts:
            path = folder / str(part.part_number)
            if not path.exists():
                raise Refusal(400, f"Part {part.part_number} was not uploaded.", param="parts")
            md5 = hashlib.md5(usedforsecurity=False)
            with path.open("rb") as source:
                while chunk := source.read(2**20):
                    file.write(chunk)
                    digest.update(chunk)
                    md5.update(chunk)
                    size += len(chunk)
            if part.etag.strip('"') != md5.hexdigest():
                raise Refusal(400, f"The etag of part {part.part_number} does not match.", param="parts")
    joined.replace(target)
    return size, digest.hexdigest()
