"""Videos: jobs that end in a clip. Nobody can list or cancel them, as in the API."""

from __future__ import annotations

import math
import uuid
from typing import Any

from together_flows.emulator.clips import clip
from together_flows.emulator.jobs import Job, JobKind, Stage
from together_flows.emulator.world import World

__all__ = ["VIDEOS", "Video", "new_video"]

BASE_SECONDS, SECONDS_PER_SECOND = 60.0, 12.0
"""How long the service works on a clip, and on each second of it."""

SECONDS_PER_DOLLAR = 5
"""How much clip a dollar buys. The contract has the cost as a whole number, and examples of the service in dollars."""


class Video(Job, kw_only=True):
    """A video job.

    Attributes:
        length: seconds of the clip.
    """

    model: str
    prompt: str
    width: int
    height: int
    length: int
    seed: int

    @property
    def path(self) -> str:
        """Where the clip lies under the emulator's folder."""
        return f"media/{self.id}.mp4"

    @property
    def dollars(self) -> int:
        """What it costs, in US dollars."""
        return math.ceil(self.length / SECONDS_PER_DOLLAR)


class _Videos(JobKind[Video]):
    name = "video"
    noun = "Video"
    active = frozenset({"in_progress"})
    failure = "failed"
    record = Video

    def row(self, world: World, job: Video, now: float) -> dict[str, Any]:
        """The job without the address of the clip, which depends on who asks."""
        stage = job.stage(now)
        row = {
            "id": job.id,
            "object": "video",
            "model": job.model,
            "status": stage.status,
            "created_at": world.clock.epoch(job.created),
            "size": f"{job.width}x{job.height}",
            "seconds": str(job.length),
        }
        if stage.status not in self.active:
            row["completed_at"] = world.clock.epoch(stage.at)
        if stage.status == self.failure:
            row["error"] = {"code": "generation_failed", "message": job.error or "The video could not be generated."}
        return row

    def work(self, world: World, job: Video) -> None:
        content = clip(job.prompt, width=job.width, height=job.height, seconds=job.length, seed=job.seed)
        world.path(job.path).write_bytes(content)

    def settle(self, world: World, job: Video, result: None, now: float) -> None:
        if job.status(now) in self.active:
            job.stages.append(Stage("completed", max(job.planned_end, now)))


VIDEOS = _Videos()


def new_video(world: World, *, model: str, prompt: str, width: int, height: int, length: int, seed: int) -> Video:
    """A new job; its clip is made from now on."""
    born = world.born()
    return Video(
        id=str(uuid.uuid4()),
        created=born.created,
        visible=born.visible,
        stages=[Stage("in_progress", born.created)],
        computed=False,
        planned_end=born.created + BASE_SECONDS + SECONDS_PER_SECOND * length,
        model=model,
        prompt=prompt,
        width=width,
        height=height,
        length=length,
        seed=seed,
    )
