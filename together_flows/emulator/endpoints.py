"""Dedicated endpoints, v1: they start, they bill by the minute, they stop when asked or when nobody uses them."""

from __future__ import annotations

import math
import uuid
from typing import Any

import msgspec

from together_flows.emulator.catalogue import HARDWARE
from together_flows.emulator.jobs import Job, JobKind, Stage
from together_flows.emulator.world import ACCOUNT, World

__all__ = ["ENDPOINTS", "Endpoint", "new_endpoint", "restart", "stop", "touch"]

PENDING_SECONDS, STARTING_SECONDS, STOPPING_SECONDS = 10.0, 170.0, 20.0

_BILLED = ("PENDING", "STARTING", "STARTED")


class Endpoint(Job, kw_only=True):
    """A dedicated endpoint.

    Attributes:
        name: what inference calls it by; the service makes it.
        inactive_timeout: emulator minutes without a request after which it stops; 0 for never.
        last_used: the last request, or its start.
        replicas: the least it runs, which is what it bills.
    """

    name: str
    display_name: str
    model: str
    hardware: str
    min_replicas: int
    max_replicas: int
    inactive_timeout: int = 0
    last_used: float = 0.0

    def stage(self, now: float) -> Stage:
        self._fall_idle(now)
        return super().stage(now)

    def billed(self, now: float) -> float:
        """Emulator seconds in which it ran up a bill."""
        self._fall_idle(now)
        ends = [*(stage.at for stage in self.stages[1:]), math.inf]
        return sum(
            max(0.0, min(end, now) - stage.at)
            for stage, end in zip(self.stages, ends, strict=True)
            if stage.status in _BILLED
        )

    def _fall_idle(self, now: float) -> None:
        """Plans the stop that follows from nobody having used it; the same whenever it is asked."""
        last = self.stages[-1]
        idle_at = max(self.last_used, last.at) + self.inactive_timeout * 60
        if self.inactive_timeout and last.status == "STARTED" and idle_at <= now:
            self.stages += [Stage("STOPPING", idle_at), Stage("STOPPED", idle_at + STOPPING_SECONDS)]


class _Endpoints(JobKind[Endpoint]):
    name = "endpoint"
    noun = "Endpoint"
    active = frozenset(_BILLED)
    failure = "ERROR"
    tick = 1.0
    record = Endpoint

    def key(self, job: Endpoint) -> str:
        return job.name

    def row(self, world: World, job: Endpoint, now: float) -> dict[str, Any]:
        """The list's row: it lacks display_name, hardware and autoscaling."""
        return {
            "object": "endpoint",
            "id": job.id,
            "name": job.name,
            "model": job.model,
            "type": "dedicated",
            "usage_type": "on-demand",
            "owner": ACCOUNT,
            "state": job.status(now),
            "created_at": world.clock.iso(job.created),
        }

    def full_row(self, world: World, job: Endpoint, now: float) -> dict[str, Any]:
        """The endpoint as it is shown on its own."""
        return {
            **self.row(world, job, now),
            "display_name": job.display_name,
            "hardware": job.hardware,
            "autoscaling": {"min_replicas": job.min_replicas, "max_replicas": job.max_replicas},
            "inactive_timeout": job.inactive_timeout or None,
        }

    def fields(self, world: World, job: Endpoint, now: float) -> dict[str, Any]:
        cents = HARDWARE[job.hardware].cents_per_minute * job.min_replicas
        return {
            "display_name": job.display_name,
            "name": job.name,
            "billed_usd": round(job.billed(now) / 60 * cents / 100, 6),
        }


ENDPOINTS = _Endpoints()


def new_endpoint(
    world: World,
    *,
    model: str,
    hardware: str,
    replicas: tuple[int, int],
    display_name: str,
    inactive_timeout: int,
    started: bool,
) -> Endpoint:
    """A new endpoint, on its way up or stopped."""
    identity = str(uuid.uuid4())
    born = world.born()
    stages = _way_up(born.created) if started else [Stage("STOPPED", born.created)]
    name = f"{model}-{identity[:8]}"
    return Endpoint(
        id=f"endpoint-{identity}",
        created=born.created,
        visible=born.visible,
        stages=stages,
        name=name if name.startswith(f"{ACCOUNT}/") else f"{ACCOUNT}/{name}",
        display_name=display_name,
        model=model,
        hardware=hardware,
        min_replicas=replicas[0],
        max_replicas=replicas[1],
        inactive_timeout=inactive_timeout,
        last_used=born.created,
    )


def restart(endpoint: Endpoint, now: float) -> None:
    """Starts a stopped endpoint."""
    endpoint.stages += _way_up(now)
    endpoint.last_used = now


def stop(endpoint: Endpoint, now: float) -> None:
    """Stops a billing endpoint."""
    endpoint.turn("STOPPING", now)
    endpoint.stages.append(Stage("STOPPED", now + STOPPING_SECONDS))


def touch(world: World, endpoint: Endpoint) -> None:
    """Notes that somebody used it."""
    endpoint.last_used = world.clock.now()
    world.store.put(ENDPOINTS.name, endpoint.id, msgspec.msgpack.encode(endpoint))


def _way_up(now: float) -> list[Stage]:
    started = now + PENDING_SECONDS + STARTING_SECONDS
    return [Stage("PENDING", now), Stage("STARTING", now + PENDING_SECONDS), Stage("STARTED", started)]
