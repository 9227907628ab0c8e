"""Model download."""

from __future__ import annotations

import anyio.to_thread
from starlette.responses import FileResponse, Response

from together_flows.emulator.archive import build_archive
from together_flows.emulator.fine_tunes import FINE_TUNES, FineTune
from together_flows.emulator.gate import Call, Group
from together_flows.emulator.refusals import Refusal, text_only

group = Group(errors=text_only)


@group.get("/finetune/download")
async def download(call: Call) -> Response:
    """A tuned model or a checkpoint, whole or a range of its bytes.

    The official SDK tells the kind of archive from the content type: one with `x-tar` in it means tar.gz.
    """
    job_id = call.query_params.get("ft_id")
    if not job_id:
        raise Refusal(400, "ft_id is required")
    job = call.world.table(FINE_TUNES).get(job_id)
    step = call.whole("checkpoint_step")
    variant = _variant(job, call.query_params.get("checkpoint"), step)
    done = job.steps_done(call.world.clock.now())
    if step is None and job.status(call.world.clock.now()) != "completed":
        raise Refusal(400, f"{job.id} is {job.status(call.world.clock.now())}; there is no model to download yet")
    if step is not None and (step not in job.checkpoint_steps() or step > done):
        raise Refusal(404, f"{job.id} has no checkpoint at step {step}")
    path = await anyio.to_thread.run_sync(
        lambda: build_archive(call.world, job, variant=variant, step=step or job.steps)
    )
    return FileResponse(path, media_type="application/x-tar")


def _variant(job: FineTune, checkpoint: str | None, step: int | None) -> str:
    """Which archive is meant: a step outweighs the name, and full and LoRA jobs have different ones."""
    if step is not None:
        return "merged" if job.lora else "model_output_path"
    allowed = ("merged", "adapter") if job.lora else ("model_output_path",)
    if checkpoint is None or checkpoint not in allowed:
        raise Refusal(400, f"checkpoint must be {' or '.join(allowed)} for this job, got {checkpoint!r}")
    return checkpoint
