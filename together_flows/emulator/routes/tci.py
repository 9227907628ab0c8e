"""The code interpreter. It answers 200 also when there is something wrong with the code or its session."""

from __future__ import annotations

import base64
import binascii
from pathlib import PurePosixPath
from typing import Any, Literal

import anyio.to_thread
import msgspec
from starlette.responses import Response

from together_flows.emulator.gate import Call, Group
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.replies import json_reply
from together_flows.emulator.sandbox import CodeRefused, Sandboxes, sandboxes


def _listed(refusal: Refusal) -> Any:
    """An error the way this group has it: in the list that failed code has its errors in."""
    return {"data": None, "errors": [refusal.message]}


group = Group(errors=_listed)


class File(msgspec.Struct):
    """A file to be put into the session first."""

    name: str
    encoding: Literal["string", "base64"]
    content: str


class ExecuteRequest(msgspec.Struct, kw_only=True):
    """The body of an execution."""

    code: str
    language: Literal["python"]
    files: list[File] = []
    session_id: str = ""


@group.post("/tci/execute")
async def execute(call: Call) -> Response:
    """Runs code in a session, new or known."""
    request = await call.read(ExecuteRequest)
    for file in request.files:
        _check(file)
    try:
        data = await anyio.to_thread.run_sync(_executed, sandboxes(call.world), request, call.world.clock.now())
    except CodeRefused as refused:
        return json_reply({"data": None, "errors": [refused.reason]})
    return json_reply({"data": data, "errors": None})


@group.get("/tci/sessions")
async def list_sessions(call: Call) -> Response:
    """The sessions that are still there."""
    clock = call.world.clock
    rooms = sandboxes(call.world)
    alive = await anyio.to_thread.run_sync(lambda: list(rooms.alive()))
    sessions = [
        {
            "id": sandbox.id,
            "execute_count": sandbox.executions,
            "started_at": clock.iso(sandbox.started),
            "last_execute_at": clock.iso(sandbox.used),
            "expires_at": clock.iso(sandbox.expires),
        }
        for sandbox in alive
    ]
    return json_reply({"data": {"sessions": sessions}, "errors": []})


def _executed(rooms: Sandboxes, request: ExecuteRequest, now: float) -> dict[str, Any]:
    sandbox = rooms.get(request.session_id) if request.session_id else rooms.new()
    sandbox.used = now
    outputs = sandbox.run(request.code, [msgspec.structs.asdict(file) for file in request.files])
    return {"session_id": sandbox.id, "status": "success", "outputs": outputs}


def _check(file: File) -> None:
    path = PurePosixPath(file.name)
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in file.name:
        raise Refusal(400, f"{file.name!r} is no name for a file of the session.")
    if file.encoding == "base64":
        try:
            base64.b64decode(file.content, validate=True)
        except binascii.Error:
            raise Refusal(400, f"The content of {file.name} is not base64.") from None
