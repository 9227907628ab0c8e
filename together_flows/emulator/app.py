"""The application: every group of the API, the control plane, and one page for people who look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from together_flows.emulator import control
from together_flows.emulator.refusals import Refusal, nested
from together_flows.emulator.replies import refuse
from together_flows.emulator.routes import all_groups
from together_flows.emulator.world import World

__all__ = ["make_app"]


def make_app(world: World) -> FastAPI:
    """The emulator of this world as an ASGI application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        world.start(asyncio.get_running_loop())
        yield

    app = FastAPI(title="Together API emulator", lifespan=lifespan, openapi_url=None)
    app.state.world = world
    groups = all_groups()
    for group in groups:
        app.include_router(group)
    app.include_router(control.router)
    app.add_exception_handler(HTTPException, _unknown_route)
    aliases = {alias: path for group in groups for alias, path in group.aliases.items()}
    app.add_middleware(_Entrance, aliases=aliases)
    return app


class _Entrance:
    """Marks every answer as the emulator's and lets one route be reached by all its addresses.

    Clients differ in whether their base URL ends in /v1 and in whether their paths begin with it.
    """

    def __init__(self, app: ASGIApp, aliases: Mapping[str, str]) -> None:
        self._app = app
        self._aliases = aliases

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-together-emulator", b"true")]
            await send(message)

        path = self._canonical(scope["path"])
        await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, send_marked)

    def _canonical(self, path: str) -> str:
        while path == "/v1" or path.startswith("/v1/"):
            path = path[3:] or "/"
        for alias, target in self._aliases.items():
            if path == alias or path.startswith(alias + "/"):
                return target + path[len(alias) :]
        return path


async def _unknown_route(request: Request, error: Exception) -> Response:
    world: World = request.app.state.world
    world.requests[f"{request.method} (unknown)"] += 1
    status = error.status_code if isinstance(error, HTTPException) else 404
    what = "Method not allowed" if status == 405 else "No such route"
    return refuse(Refusal(status, f"{what}: {request.method} {request.url.path}"), nested)
