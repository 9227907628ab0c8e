"""Faults on purpose: what the network and the service do to a client on a bad day.

A fault is armed through the control plane for one route, lets some requests pass, strikes some times, and counts.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from starlette.responses import Response

from together_flows.emulator.refusals import Refusal
from together_flows.emulator.replies import Cut, Truncated, refuse

if TYPE_CHECKING:
    from together_flows.emulator.gate import Call, Group

__all__ = ["ArmedFault", "Fault", "FaultBook", "suffer"]

Handler = Callable[["Call"], Awaitable[Response]]

_PADDING_PIECE = b" " * 65536


class Fault(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is to go wrong, and where.

    Attributes:
        method: HTTP method, or "*".
        path: the route's template without /v1, such as "/fine-tunes/{id}", or "*".
        skip: matching requests that pass first.
        times: how often it strikes; None for until it is cleared.
        status: answer with this status instead of having any effect.
        effect: with `status`: have the effect all the same, as behind a proxy that has given up on the server.
        body: the body that goes with `status`; by default the group's own error.
        headers: headers that are added to the answer.
        delay: real seconds between the request's arrival and all else. Whoever hangs up meanwhile does not undo it.
        linger: real seconds between the effect and the answer.
        drop: close the connection without an answer, before or after the effect.
        duplicate: the request takes effect twice, as when a proxy repeats it; the second answer is sent.
        truncate: send only so many bytes of the body, then close the connection.
        omit: keys to leave out of the JSON answer; in a list, of each of its rows.
        replace: what to merge into the JSON answer; in a list, into each of its rows.
        oversize: pad the answer with white space to so many bytes.
    """

    method: str = "*"
    path: str = "*"
    skip: int = 0
    times: int | None = 1
    status: int | None = None
    effect: bool = False
    body: Any = msgspec.UNSET
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    delay: float = 0.0
    linger: float = 0.0
    drop: Literal["before", "after"] | None = None
    duplicate: bool = False
    truncate: int | None = None
    omit: list[str] = msgspec.field(default_factory=list)
    replace: dict[str, Any] = msgspec.field(default_factory=dict)
    oversize: int = 0

    def matches(self, method: str, path: str) -> bool:
        return self.method.upper() in ("*", method) and self.path.removeprefix("/v1") in ("*", path)


class ArmedFault:
    """A fault with its counts."""

    def __init__(self, fault: Fault) -> None:
        self.id = f"fault-{uuid.uuid4().hex[:12]}"
        self.fault = fault
        self.seen = 0
        self.hits = 0

    def strikes(self) -> bool:
        """Counts a matching request, and says whether the fault strikes it."""
        self.seen += 1
        spent = self.fault.times is not None and self.hits >= self.fault.times
        if spent or self.seen <= self.fault.skip:
            return False
        self.hits += 1
        return True

    def view(self) -> dict[str, Any]:
        return {"id": self.id, "seen": self.seen, "hits": self.hits, "fault": self.fault}


class FaultBook:
    """The armed faults, in the order in which they were armed."""

    def __init__(self) -> None:
        self.armed: list[ArmedFault] = []

    def arm(self, fault: Fault) -> ArmedFault:
        armed = ArmedFault(fault)
        self.armed.append(armed)
        return armed

    def clear(self) -> None:
        self.armed.clear()

    def strike(self, method: str, path: str) -> Fault | None:
        """The first fault that strikes this request, if any does."""
        return next((a.fault for a in self.armed if a.fault.matches(method, path) and a.strikes()), None)


async def suffer(fault: Fault, call: Call, handler: Handler, group: Group) -> Response:
    """Handles a request under a fault."""
    connections = call.world.connections
    if fault.delay:
        if call.headers.get("content-type", "").startswith("application/json"):
            await call.limited_body()  # it is here before the caller can hang up
        await asyncio.sleep(fault.delay)
    if fault.drop == "before":
        return Cut(connections)
    answer = await _answer(fault, call, handler, group)
    if fault.linger:
        await asyncio.sleep(fault.linger)
    if fault.drop == "after":
        return Cut(connections)
    answer = _altered(fault, answer)
    answer.headers.update(fault.headers)
    if fault.truncate is not None:
        return Truncated(answer, fault.truncate, connections)
    return answer


async def _answer(fault: Fault, call: Call, handler: Handler, group: Group) -> Response:
    if fault.status is not None:
        if fault.effect:
            await handler(call)
        refusal = Refusal(fault.status, f"Injected fault: status {fault.status}.", code="emulator_fault")
        if fault.body is not msgspec.UNSET:
            refusal.body = "null" if fault.body is None else fault.body
        return refuse(refusal, group.errors)
    if fault.duplicate:
        await handler(await call.copy())
    return await handler(call)


def _altered(fault: Fault, answer: Response) -> Response:
    if not hasattr(answer, "body"):  # a stream or a file
        return answer
    if fault.omit or fault.replace:
        value = msgspec.json.decode(answer.body)
        for row in _rows(value):
            row.update(fault.replace)
        for row in [value, *_rows(value)]:
            _leave_out(row, fault.omit)
        answer = _rewritten(answer, msgspec.json.encode(value))
    if fault.oversize > len(answer.body):
        missing = fault.oversize - len(answer.body)
        padding = _PADDING_PIECE * (missing // len(_PADDING_PIECE) + 1)
        answer = _rewritten(answer, bytes(answer.body) + padding[:missing])
    return answer


def _leave_out(value: Any, keys: list[str]) -> None:
    if isinstance(value, dict):
        for key in keys:
            value.pop(key, None)


def _rewritten(answer: Response, content: bytes) -> Response:
    headers = {key: value for key, value in answer.headers.items() if key != "content-length"}
    return Response(content, answer.status_code, headers)


def _rows(value: Any) -> list[dict[str, Any]]:
    """The objects an answer is about: the rows of a list, a wrapped job, or the answer itself."""
    if isinstance(value, list):
        return [row for row in value if isinstance(row, dict)]
    if not isinstance(value, dict):
        return []
    for wrapped in (value.get(key) for key in ("data", "job", "clusters", "volumes")):
        if isinstance(wrapped, list):
            return _rows(wrapped)
        if isinstance(wrapped, dict):
            return [wrapped]
    return [value]
