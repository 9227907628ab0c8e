"""Evaluations: their records, their stages, and what is shown of them."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from together_flows.emulator.evaluation_request import EvaluationRequest, Parameters, masked
from together_flows.emulator.evaluation_run import EvaluationRun, UserError
from together_flows.emulator.files import File, content_path, publish
from together_flows.emulator.jobs import Job, JobKind, Stage
from together_flows.emulator.world import ACCOUNT, World

__all__ = ["EVALUATIONS", "Evaluation", "new_evaluation"]

QUEUED_SECONDS, RUNNING_SECONDS = 3.0, 10.0
BASE_SECONDS, SECONDS_PER_ROW, MAX_SECONDS = 40.0, 0.4, 3600.0


class Evaluation(Job, kw_only=True):
    """An evaluation.

    Attributes:
        type: "classify", "score" or "compare".
        shown: the parameters as they were sent, secrets masked.
        results: what came out.
        result_file_id: the file with a row for each row.
    """

    type: str
    parameters: Parameters
    shown: dict[str, Any]
    results: dict[str, Any] = msgspec.field(default_factory=dict)
    result_file_id: str


class _Evaluations(JobKind[Evaluation]):
    name = "evaluation"
    noun = "Evaluation job"
    active = frozenset({"pending", "queued", "running"})
    failure = "error"
    tick = 60.0
    record = Evaluation

    def row(self, world: World, job: Evaluation, now: float) -> dict[str, Any]:
        stages = [stage for stage in job.stages if stage.at <= now]
        return {
            "workflow_id": job.id,
            "type": job.type,
            "owner_id": ACCOUNT,
            "status": stages[-1].status,
            "status_updates": [
                {
                    "status": stage.status,
                    "message": f"Job is {stage.status}",
                    "timestamp": world.clock.iso(stage.at),
                }
                for stage in stages
            ],
            "parameters": job.shown,
            "created_at": world.clock.iso(job.created),
            "updated_at": world.clock.iso(stages[-1].at),
            "results": self.results(job, stages[-1].status),
        }

    def results(self, job: Evaluation, status: str) -> dict[str, Any] | None:
        """What came out; nothing before the end."""
        if status in self.active:
            return None
        return job.results if status == "completed" else {"error": job.error}

    def work(self, world: World, job: Evaluation) -> tuple[dict[str, Any], str]:
        def wanted() -> bool:
            return not world.closing and job.status(world.clock.now()) in self.active

        target = content_path(world, job.result_file_id)
        try:
            results = EvaluationRun(world, job.parameters).judge_all(target, wanted)
        except UserError as error:
            return {}, str(error)
        return results | {"result_file_id": job.result_file_id}, ""

    def settle(self, world: World, job: Evaluation, result: tuple[dict[str, Any], str], now: float) -> None:
        if job.status(now) not in self.active:
            return
        job.results, job.error = result
        end = max(job.planned_end, now)
        job.stages.append(Stage("user_error" if job.error else "completed", end))
        if not job.error:
            publish(world, job.result_file_id, filename=f"{job.id}-results.jsonl", purpose="eval-output", visible=end)


EVALUATIONS = _Evaluations()


def new_evaluation(world: World, request: EvaluationRequest, parameters: Parameters, file: File) -> Evaluation:
    """A new evaluation over a dataset."""
    born = world.born()
    rows = file.report.nlines or file.bytes // 200
    running = min(MAX_SECONDS, BASE_SECONDS + SECONDS_PER_ROW * rows)
    return Evaluation(
        id=f"eval-{uuid.uuid4().hex[:8]}-{world.clock.epoch(born.created)}",
        created=born.created,
        visible=born.visible,
        stages=[
            Stage("pending", born.created),
            Stage("queued", born.created + QUEUED_SECONDS),
            Stage("running", born.created + RUNNING_SECONDS),
        ],
        computed=False,
        planned_end=born.created + RUNNING_SECONDS + running,
        type=request.type,
        parameters=_without_secrets(parameters),
        shown=masked(request.parameters),
        result_file_id=f"file-{uuid.uuid4()}",
    )


def _without_secrets(parameters: Parameters) -> Parameters:
    secretless = masked(msgspec.to_builtins(parameters))
    cleaned: Parameters = msgspec.convert(secretless, Parameters)
    return cleaned
