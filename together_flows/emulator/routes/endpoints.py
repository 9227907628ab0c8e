"""Dedicated endpoints, v1."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from starlette.responses import Response

from together_flows.emulator.catalogue import BASE_MODELS, HARDWARE
from together_flows.emulator.endpoints import ENDPOINTS, Endpoint, new_endpoint, restart, stop
from together_flows.emulator.gate import Call, Group
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.replies import data_list, json_reply
from together_flows.emulator.serving import deployable
from together_flows.emulator.world import World

group = Group()
kinds = [ENDPOINTS]

_LIST_OPENING = b'{"object":"list","data":['


class Autoscaling(msgspec.Struct):
    """How many replicas run."""

    min_replicas: int
    max_replicas: int

    def bounds(self) -> tuple[int, int]:
        """The numbers, checked.

        Raises:
            Refusal: 400, they are out of order.
        """
        if not 1 <= self.min_replicas <= self.max_replicas:
            raise Refusal(400, "autoscaling needs 1 <= min_replicas <= max_replicas.", param="autoscaling")
        return self.min_replicas, self.max_replicas


class CreateRequest(msgspec.Struct, kw_only=True):
    """The body of a creation."""

    model: str
    hardware: str
    autoscaling: Autoscaling
    display_name: str = ""
    state: Literal["STARTED", "STOPPED"] = "STARTED"
    inactive_timeout: int = 0
    availability_zone: str = ""


class UpdateRequest(msgspec.Struct, kw_only=True):
    """The body of an update."""

    display_name: str | None = None
    state: Literal["STARTED", "STOPPED"] | None = None
    autoscaling: Autoscaling | None = None
    inactive_timeout: int | None = None


@group.get("/endpoints")
async def list_endpoints(call: Call) -> Response:
    """The account's dedicated endpoints and, unless they are filtered out, the serverless ones."""
    kind, usage, mine = call.query_params.get("type"), call.query_params.get("usage_type"), call.truth("mine")
    if kind not in (None, "dedicated", "serverless"):
        raise Refusal(400, f"type must be dedicated or serverless, got {kind!r}.", param="type")
    own = [] if kind == "serverless" or usage == "reserved" else _own_rows(call.world)
    shared = [] if kind == "dedicated" or usage or mine else _serverless_rows(call.world)
    return data_list([*own, *shared], opening=_LIST_OPENING)


@group.post("/endpoints")
async def create(call: Call) -> Response:
    """Creates an endpoint; it starts, and bills, at once unless it is created stopped."""
    request = await call.read(CreateRequest)
    _refuse_if_closed(call.world)
    served = deployable(call.world, request.model)
    hardware = HARDWARE.get(request.hardware)
    if hardware is None:
        raise Refusal(400, f"Unknown hardware {request.hardware!r}; GET /hardware lists it.", param="hardware")
    if not hardware.holds(served.base):
        raise Refusal(400, f"{request.hardware} is too small for {request.model}.", param="hardware")
    if hardware.availability != "available":
        raise Refusal(400, f"{request.hardware} is {hardware.availability}.", param="hardware")
    endpoint = new_endpoint(
        call.world,
        model=request.model,
        hardware=request.hardware,
        replicas=request.autoscaling.bounds(),
        display_name=request.display_name,
        inactive_timeout=_timeout(request.inactive_timeout),
        started=request.state == "STARTED",
    )
    call.world.table(ENDPOINTS).add(endpoint)
    return json_reply(ENDPOINTS.full_row(call.world, endpoint, endpoint.created))


@group.get("/endpoints/{endpointId}")
async def retrieve(call: Call) -> Response:
    """One endpoint."""
    return _full(call.world, call.world.table(ENDPOINTS).get(call.path_params["endpointId"]))


@group.patch("/endpoints/{endpointId}")
async def update(call: Call) -> Response:
    """Renames, rescales, starts or stops an endpoint."""
    table = call.world.table(ENDPOINTS)
    endpoint = table.get(call.path_params["endpointId"])
    request = await call.read(UpdateRequest)
    bounds = request.autoscaling.bounds() if request.autoscaling else None
    timeout = None if request.inactive_timeout is None else _timeout(request.inactive_timeout)
    now = call.world.clock.now()
    if request.state is not None:
        _bring_to(call.world, endpoint, request.state, now)
    if request.display_name is not None:
        endpoint.display_name = request.display_name
    if bounds is not None:
        endpoint.min_replicas, endpoint.max_replicas = bounds
    if timeout is not None:
        endpoint.inactive_timeout = timeout
    table.save(endpoint)
    return json_reply(ENDPOINTS.full_row(call.world, endpoint, now))


@group.delete("/endpoints/{endpointId}")
async def delete(call: Call) -> Response:
    """Deletes an endpoint, whatever its state."""
    table = call.world.table(ENDPOINTS)
    endpoint = table.get(call.path_params["endpointId"])
    if endpoint.status(call.world.clock.now()) in ENDPOINTS.active:
        table.count_cancelled()
    table.remove(endpoint)
    return Response(status_code=204)


def _bring_to(world: World, endpoint: Endpoint, state: str, now: float) -> None:
    current = endpoint.status(now)
    if state == "STOPPED" and current in ENDPOINTS.active:
        stop(endpoint, now)
        world.table(ENDPOINTS).count_cancelled()
    elif state == "STARTED" and current not in ENDPOINTS.active:
        _refuse_if_closed(world)
        if current == "STOPPING":
            raise Refusal(400, f"Endpoint {endpoint.id} is STOPPING; start it when it is STOPPED.", param="state")
        restart(endpoint, now)


def _refuse_if_closed(world: World) -> None:
    if world.settings.endpoints_v1_closed:
        raise Refusal(
            403,
            "Creating and restarting dedicated endpoints through the v1 API is no longer possible. Use the v2 API.",
            code="endpoints_v1_create_access_disabled",
        )


def _timeout(minutes: int) -> int:
    if minutes < 0:
        raise Refusal(400, "inactive_timeout must be at least 0.", param="inactive_timeout")
    return minutes


def _own_rows(world: World) -> list[bytes]:
    return world.table(ENDPOINTS).rows(world.clock.now())


def _serverless_rows(world: World) -> list[bytes]:
    return [msgspec.json.encode(_serverless_row(model.id, world)) for model in BASE_MODELS.values() if model.serverless]


def _serverless_row(model: str, world: World) -> dict[str, Any]:
    return {
        "object": "endpoint",
        "id": f"endpoint-serverless-{model.replace('/', '-').lower()}",
        "name": model,
        "model": model,
        "type": "serverless",
        "owner": "together",
        "state": "STARTED",
        "created_at": world.clock.iso(0),
    }


def _full(world: World, endpoint: Endpoint) -> Response:
    return json_reply(ENDPOINTS.full_row(world, endpoint, world.clock.now()))
