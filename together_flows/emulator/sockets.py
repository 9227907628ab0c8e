"""WebSocket routes: they pass what HTTP requests pass, and report what goes wrong as events.

The API lets a connection in and then says in an event that its key is wrong; faults strike before that, as a proxy
would.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from together_flows.emulator.faults import Fault
from together_flows.emulator.gate import Call, Group
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.replies import refuse
from together_flows.emulator.world import World

__all__ = ["Conversation", "socket"]

log = logging.getLogger(__name__)

_POLICY_VIOLATION, _INTERNAL_ERROR = 1008, 1011


class Conversation:
    """One open WebSocket.

    Args:
        socket: the accepted connection.
        failed: the type of the event that reports an error.
    """

    def __init__(self, socket: WebSocket, failed: str) -> None:
        self._socket = socket
        self._failed = failed
        self.id = uuid.uuid4().hex

    @property
    def world(self) -> World:
        world: World = self._socket.app.state.world
        return world

    def option(self, name: str, default: str = "") -> str:
        """A parameter of the query."""
        return self._socket.query_params.get(name) or default

    async def send(self, kind: str, **fields: Any) -> None:
        """Sends an event."""
        event = {"event_id": f"evt_{uuid.uuid4().hex[:12]}", "type": kind, **fields}
        await self._socket.send_text(msgspec.json.encode(event).decode())

    async def fail(self, refusal: Refusal) -> None:
        """Reports an error; the connection stays open."""
        error = {"message": refusal.message, "type": refusal.type, "param": refusal.param, "code": refusal.code}
        await self.send(self._failed, error=error)

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The client's events until it hangs up. What is no event is answered with an error and passed over."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                event = msgspec.json.decode(message.get("text") or message.get("bytes") or b"", type=dict[str, Any])
            except msgspec.MsgspecError as error:
                await self.fail(Refusal(400, f"The event is not a JSON object: {error}", code="invalid_event"))
                continue
            yield event


Talk = Callable[[Conversation], Awaitable[None]]


def socket(group: Group, path: str, *, failed: str) -> Callable[[Talk], Talk]:
    """Serves a WebSocket under the path, and tells those who come with plain HTTP to upgrade.

    Args:
        group: the group that it belongs to.
        path: the contract's template.
        failed: the type of the event that reports an error.
    """

    def register(talk: Talk) -> Talk:
        async def admit(socket: WebSocket) -> None:
            try:
                await _admit(socket, path, failed, talk, group)
            finally:
                socket.app.state.world.connections.forget(socket.client)

        async def upgrade(call: Call) -> Response:
            raise Refusal(426, "This address speaks WebSocket.", headers={"Upgrade": "websocket"})

        group.add_websocket_route(path, admit)
        group.add_api_route(path, upgrade, methods=["GET"])
        return talk

    return register


async def _admit(socket: WebSocket, path: str, failed: str, talk: Talk, group: Group) -> None:
    world: World = socket.app.state.world
    world.requests[f"GET {path}"] += 1
    world.connections.note_use(socket.client)
    fault = world.faults.strike("GET", path)
    if fault is not None and await _suffer(fault, socket, group):
        return
    await socket.accept()
    conversation = Conversation(socket, failed)
    try:
        _check_key(socket)
        await talk(conversation)
    except Refusal as refusal:
        await conversation.fail(refusal)
        await socket.close(_POLICY_VIOLATION)
    except WebSocketDisconnect:
        return
    except Exception:
        log.exception("the emulator failed in a WebSocket")
        await socket.close(_INTERNAL_ERROR)


async def _suffer(fault: Fault, socket: WebSocket, group: Group) -> bool:
    """Lets a fault strike an opening connection, and says whether that was its end."""
    world: World = socket.app.state.world
    if fault.delay:
        await asyncio.sleep(fault.delay)
    if fault.drop:
        if fault.drop == "after":
            await socket.accept()
        world.connections.cut(socket.client)
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
        return True
    if fault.status is not None:
        refusal = Refusal(fault.status, f"Injected fault: status {fault.status}.", code="emulator_fault")
        refusal.headers = fault.headers
        await socket.send_denial_response(refuse(refusal, group.errors))
        return True
    return False


def _check_key(socket: WebSocket) -> None:
    given = socket.headers.get("authorization")
    if not given:
        raise Refusal(401, "Authorization header missing.", type="invalid_request_error", code="missing_api_key")
    if given != f"Bearer {socket.app.state.world.api_key}":
        raise Refusal(401, "Invalid API key provided.", type="invalid_request_error", code="invalid_api_key")
