"""The control plane under /_emulator, and the page at /. No key is asked for; nothing of it exists in the real API."""

from __future__ import annotations

import html
from typing import Any, TypeVar

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from together_flows.emulator.faults import Fault
from together_flows.emulator.jobs import Job, JobTable
from together_flows.emulator.refusals import Refusal, nested
from together_flows.emulator.replies import json_reply, refuse
from together_flows.emulator.world import Settings, World

__all__ = ["router"]

router = APIRouter()

T = TypeVar("T")


class Forced(msgspec.Struct, forbid_unknown_fields=True):
    """The status a job is put into."""

    status: str
    error: str = ""


@router.get("/_emulator/counts")
async def counts(request: Request) -> Response:
    """Requests by route, and the most at once; creations, cancellations and running jobs by kind; used connections."""
    return json_reply(_counts(_world(request)))


@router.get("/_emulator/jobs")
async def jobs(request: Request) -> Response:
    """Every job of every kind, newest first within its kind."""
    world = _world(request)
    return json_reply([_view(world, table, job) for table in world.tables.values() for job in table])


@router.get("/_emulator/jobs/{kind}/{job_id}")
async def job_page(request: Request, kind: str, job_id: str) -> Response:
    """Shows one job to whoever follows a link to it with a browser."""
    world = _world(request)
    table = world.tables.get(kind)
    job = table.find(job_id) if table else None
    if table is None or job is None:
        return refuse(_no_job(world, kind, job_id), nested)
    facts = msgspec.json.format(msgspec.json.encode(_view(world, table, job)), indent=2).decode()
    title = f"{kind} {job_id}"
    return HTMLResponse(_JOB_PAGE.format(style=_STYLE, title=html.escape(title), facts=html.escape(facts)))


@router.post("/_emulator/jobs/{kind}/{job_id}")
async def force(request: Request, kind: str, job_id: str) -> Response:
    """Puts a job into a raw status now."""
    world = _world(request)
    table = world.tables.get(kind)
    job = table.find(job_id) if table else None
    if table is None or job is None:
        return refuse(_no_job(world, kind, job_id), nested)
    try:
        forced = await _read(request, Forced)
    except msgspec.MsgspecError as error:
        return refuse(Refusal(400, str(error)), nested)
    table.end(job, forced.status, error=forced.error)
    return json_reply(_view(world, table, job))


@router.get("/_emulator/faults")
async def list_faults(request: Request) -> Response:
    """The armed faults and how often each has struck."""
    return json_reply([armed.view() for armed in _world(request).faults.armed])


@router.post("/_emulator/faults")
async def arm_fault(request: Request) -> Response:
    """Arms a fault."""
    try:
        fault = await _read(request, Fault)
    except msgspec.MsgspecError as error:
        return refuse(Refusal(400, str(error)), nested)
    return json_reply({"id": _world(request).faults.arm(fault).id}, 201)


@router.delete("/_emulator/faults")
async def clear_faults(request: Request) -> Response:
    """Disarms every fault."""
    _world(request).faults.clear()
    return Response(status_code=204)


@router.post("/_emulator/settings")
async def change_settings(request: Request) -> Response:
    """Changes the settings that are named and leaves the others."""
    world = _world(request)
    try:
        wanted = await _read(request, dict[str, Any])
        settings = msgspec.convert({**msgspec.structs.asdict(world.settings), **wanted}, Settings)
        world.change_settings(settings)
    except (msgspec.MsgspecError, ValueError) as error:
        return refuse(Refusal(400, str(error)), nested)
    return json_reply(world.settings)


@router.get("/_emulator/settings")
async def settings(request: Request) -> Response:
    """The settings in force."""
    return json_reply(_world(request).settings)


@router.post("/_emulator/reset")
async def reset(request: Request) -> Response:
    """Forgets everything."""
    _world(request).reset()
    return Response(status_code=204)


@router.get("/")
async def page(request: Request) -> Response:
    """Says what this is to whoever looks at it with a browser."""
    world = _world(request)
    base = str(request.base_url).rstrip("/")
    numbers = msgspec.json.format(msgspec.json.encode(_counts(world)), indent=2).decode()
    return HTMLResponse(
        _PAGE.format(
            style=_STYLE,
            base=html.escape(base),
            speed=f"{world.clock.speed:g}",
            key=html.escape(world.api_key),
            counts=html.escape(numbers),
        )
    )


def _no_job(world: World, kind: str, job_id: str) -> Refusal:
    return Refusal(404, f"No job {job_id} of kind {kind}; kinds: {', '.join(world.tables)}")


def _world(request: Request) -> World:
    world: World = request.app.state.world
    return world


async def _read(request: Request, shape: type[T]) -> T:
    return msgspec.json.decode(await request.body() or b"{}", type=shape)


def _counts(world: World) -> dict[str, Any]:
    now = world.clock.now()
    none = dict.fromkeys(world.tables, 0)
    return {
        "requests": dict(sorted(world.requests.items())),
        "at_once": dict(sorted(world.traffic.most.items())),
        "created": {**none, **world.store.tally("created")},
        "cancelled": {**none, **world.store.tally("cancelled")},
        "running": {name: table.running(now) for name, table in world.tables.items()},
        "connections": world.connections.used,
    }


def _view(world: World, table: JobTable[Any], job: Job) -> dict[str, Any]:
    now = world.clock.now()
    return {
        "kind": table.kind.name,
        "id": job.id,
        "state": job.status(now),
        "created_at": world.clock.iso(job.created),
        "error": job.error,
        "stages": [{"status": stage.status, "at": world.clock.iso(stage.at)} for stage in job.stages],
        **table.kind.fields(world, job, now),
    }


_STYLE = """<style>body { font: 16px/1.5 system-ui, sans-serif; max-width: 48rem; margin: 3rem auto; padding: 0 1rem }
pre { background: #8881; padding: 1rem; overflow: auto }</style>"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Together API emulator</title>
{style}</head><body>
<h1>Together API emulator</h1>
<p><strong>This is an emulator.</strong> No model runs here, nothing is billed, no request leaves this machine.
Its clock runs {speed} times as fast as yours.</p>
<h2>Point a client at it</h2>
<pre>export TOGETHER_BASE_URL={base}/v1
export TOGETHER_API_KEY={key}</pre>
<h2>What has happened so far</h2>
<pre>{counts}</pre>
<p>Control plane: <a href="/_emulator/counts">counts</a>, <a href="/_emulator/jobs">jobs</a>,
<a href="/_emulator/faults">faults</a>, <a href="/_emulator/settings">settings</a>.</p>
</body></html>
"""

_JOB_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>{title}</title>
{style}</head><body>
<h1>{title}</h1>
<p><strong>This is an emulator.</strong> Nothing here is real or billed. <a href="/">What it is.</a></p>
<pre>{facts}</pre>
</body></html>
"""
