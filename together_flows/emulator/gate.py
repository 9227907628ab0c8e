"""What every request passes on its way in: it is counted, its key is checked, faults strike, errors get their body.

A `Group` is a FastAPI router for one group of the API. It declares how the group writes errors and whether it asks for
a key; the routes in it only know their own business and raise `Refusal` when they have to say no.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from together_flows.emulator.faults import suffer
from together_flows.emulator.refusals import ErrorBody, Refusal, nested
from together_flows.emulator.replies import refuse
from together_flows.emulator.world import World

__all__ = ["Call", "Group"]

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_JSON_BYTES = 32 * 2**20
"""The largest JSON body that is read: far above any documented request, far below what would hurt."""


class Call(Request):
    """One request, with the world it happens in."""

    @property
    def world(self) -> World:
        world: World = self.app.state.world
        return world

    async def read(self, shape: type[T]) -> T:
        """The JSON body in this shape.

        Raises:
            Refusal: 400 for a body that is empty, no JSON, or of another shape; 413 for one that is too large.
        """
        content = await self.limited_body()
        if not content.strip():
            raise Refusal(400, "The request body is empty; a JSON object is expected.")
        try:
            value = msgspec.json.decode(content)
            if isinstance(value, dict):  # null is the same as not given
                value = {key: item for key, item in value.items() if item is not None}
            return msgspec.convert(value, shape)
        except msgspec.ValidationError as error:
            raise Refusal(400, str(error), param=_param(str(error))) from None
        except msgspec.DecodeError as error:
            raise Refusal(400, f"The request body is not valid JSON: {error}") from None

    async def limited_body(self) -> bytes:
        """The body, up to the limit."""
        if not hasattr(self, "_body"):
            chunks = bytearray()
            async for chunk in self.stream():
                chunks += chunk
                if len(chunks) > MAX_JSON_BYTES:
                    raise Refusal(413, f"The request body is larger than {MAX_JSON_BYTES} bytes.")
            self._body = bytes(chunks)
        return self._body

    async def copy(self) -> Call:
        """The same request once more."""
        body = await self.limited_body()
        copy = Call(self.scope, self.receive)
        copy._body = body
        return copy

    def whole(self, name: str, default: int | None = None) -> int | None:
        """A whole number from the query.

        Raises:
            Refusal: 400, it is something else.
        """
        text = self.query_params.get(name)
        if text is None or text == "":
            return default
        try:
            return int(text)
        except ValueError:
            raise Refusal(400, f"{name} must be a whole number, got {text!r}.", param=name) from None

    def truth(self, name: str) -> bool | None:
        """A truth value from the query; None when it is not given.

        Raises:
            Refusal: 400, it is something else.
        """
        text = self.query_params.get(name)
        if text is None or text == "":
            return None
        if text.lower() not in ("true", "false", "1", "0"):
            raise Refusal(400, f"{name} must be true or false, got {text!r}.", param=name)
        return text.lower() in ("true", "1")


class Group(APIRouter):
    """The routes of one group of the API.

    Args:
        errors: how the group writes an error body.
        needs_key: whether a request must carry the API key.
        aliases: other path prefixes under which its routes are served, each with the prefix it stands for.
    """

    def __init__(
        self, *, errors: ErrorBody = nested, needs_key: bool = True, aliases: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(route_class=_gated_route(self))
        self.errors = errors
        self.needs_key = needs_key
        self.aliases = dict(aliases or {})

    async def admit(self, call: Call, method: str, template: str, handler: Handler) -> Response:
        """Lets a request through to its handler, or answers in its place."""
        with call.world.traffic.passing(f"{method} {template}"):
            return await self._answered(call, method, template, handler)

    async def _answered(self, call: Call, method: str, template: str, handler: Handler) -> Response:
        world = call.world
        world.requests[f"{method} {template}"] += 1
        world.connections.note_use(call.scope.get("client"))
        try:
            self._check_key(call)
            if self.needs_key:  # an account is limited; who reads from a signed address has none
                _check_pace(world)
            fault = world.faults.strike(method, template)
            if fault is not None:
                return await suffer(fault, call, self._guarded(handler), self)
            return await handler(call)
        except Exception as error:
            return self._answer_to(error)

    def _guarded(self, handler: Handler) -> Handler:
        """The handler with its errors answered, so that a fault can alter the answer."""

        async def guarded(call: Call) -> Response:
            try:
                return await handler(call)
            except Exception as error:
                return self._answer_to(error)

        return guarded

    def _answer_to(self, error: Exception) -> Response:
        match error:
            case Refusal():
                return refuse(error, self.errors)
            case HTTPException():
                return refuse(Refusal(error.status_code, str(error.detail)), self.errors)
            case ClientDisconnect():
                return Response(status_code=499)
        log.error("the emulator failed", exc_info=error)
        return refuse(Refusal(500, f"The emulator failed: {error!r}"), self.errors)

    def _check_key(self, call: Call) -> None:
        if self.needs_key and call.headers.get("authorization") != f"Bearer {call.world.api_key}":
            raise Refusal(
                401,
                "Invalid API key provided. This is the emulator; its key is together_flows.emulator.EMULATOR_API_KEY.",
                code="invalid_api_key",
            )


Handler = Callable[[Call], Coroutine[Any, Any, Response]]


def _check_pace(world: World) -> None:
    wait = world.pace.wait(world.settings.rate_limit)
    if wait:
        raise Refusal(
            429, "Too many requests.", code="rate_limit_exceeded", headers={"Retry-After": str(math.ceil(wait))}
        )


def _gated_route(group: Group) -> type[APIRoute]:
    class GatedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()
            template = self.path_format
            (method,) = self.methods

            async def admit(request: Request) -> Response:
                return await group.admit(Call(request.scope, request.receive), method, template, handler)

            return admit

    return GatedRoute


def _param(message: str) -> str | None:
    """The field that a message of msgspec is about."""
    if "field `" in message:
        return message.split("field `")[1].split("`")[0]
    if "at `$." in message:
        return message.split("at `$.")[1].split("`")[0]
    return None
