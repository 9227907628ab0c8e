"""Fine-tunes: create, estimate, list, read, cancel, delete, and what they log on their way."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from together_flows.emulator.catalogue import BASE_MODELS, BaseModel, base_model, model_limits
from together_flows.emulator.files import FILES, File, usable
from together_flows.emulator.fine_tune_events import checkpoints, events
from together_flows.emulator.fine_tune_request import (
    EstimateRequest,
    FineTuneRequest,
    check_request,
    known_model,
    lora_of,
    method_of,
)
from together_flows.emulator.fine_tunes import (
    CANCEL_SECONDS,
    FINE_TUNES,
    FineTune,
    full_view,
    metrics,
    plan,
    total_tokens,
)
from together_flows.emulator.gate import Call, Group
from together_flows.emulator.jobs import Stage
from together_flows.emulator.learner import StepMetric
from together_flows.emulator.pricing import fine_tune_price
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.replies import data_list, json_reply
from together_flows.emulator.world import World

group = Group()
kinds = [FINE_TUNES]


@group.post("/fine-tunes")
async def create(call: Call) -> Response:
    """Creates a job; it is charged up front."""
    request = await call.read(FineTuneRequest)
    model, parent = _starting_point(call.world, request)
    files = check_request(request, call.world, model)
    job = plan(call.world, request, model, files)
    job.parent = parent.id if parent else ""
    limit = call.world.settings.credit_limit
    if job.price > limit:
        raise Refusal(
            402,
            f"Insufficient balance. Required combined balance and credit limit: {job.price:.2f} USD, got {limit:.2f}.",
            code="insufficient_balance",
        )
    call.world.table(FINE_TUNES).add(job)
    return json_reply(FINE_TUNES.row(call.world, job, job.created))


@group.post("/fine-tunes/estimate-price")
async def estimate_price(call: Call) -> Response:
    """What a job would cost."""
    request = await call.read(EstimateRequest)
    model, _ = _starting_point(call.world, request)
    training = usable(call.world, request.training_file, field="training_file")
    validation = (
        usable(call.world, request.validation_file, field="validation_file") if request.validation_file else None
    )
    reason = _unestimated(call.world, training, "train") or _unestimated(call.world, validation, "eval")
    if reason:
        return json_reply({"estimation_available": False, "unavailable_reason": reason})
    tokens = total_tokens(request, training, validation)
    full = lora_of(request, model_limits(model)) is None
    price = fine_tune_price(model, tokens=tokens, full=full, dpo=method_of(request)["method"] == "dpo")
    limit = call.world.settings.credit_limit
    return json_reply(
        {
            "estimation_available": True,
            "estimated_total_price": price,
            "allowed_to_proceed": price <= limit,
            "user_limit": limit,
            "estimated_train_token_count": request.n_epochs * training.report.tokens,
            "estimated_eval_token_count": request.n_evals * validation.report.tokens if validation else 0,
        }
    )


@group.get("/fine-tunes")
async def list_jobs(call: Call) -> Response:
    """Every job, truncated."""
    return data_list(call.world.table(FINE_TUNES).rows(call.world.clock.now()))


@group.get("/fine-tunes/models/supported")
async def supported(call: Call) -> Response:
    """The models that can be fine-tuned."""
    return json_reply({"models": [model.id for model in BASE_MODELS.values() if model.fine_tunable]})


@group.get("/fine-tunes/models/limits")
async def limits(call: Call) -> Response:
    """The bounds for one model. The answer for a model without any has a body of its own."""
    name = call.query_params.get("model_name")
    if not name:
        raise Refusal(400, "model_name is required.", param="model_name")
    model = base_model(name)
    if model is None or not model.fine_tunable:
        message = f"Model {name} is not available for fine-tuning."
        raise Refusal(404, message, body={"message": message})
    return json_reply(model_limits(model))


@group.get("/fine-tunes/{id}")
async def retrieve(call: Call) -> Response:
    """One job, in full."""
    job, now = _job(call)
    return json_reply(full_view(call.world, job, now, events(call.world, job, now)))


@group.delete("/fine-tunes/{id}")
async def delete(call: Call) -> Response:
    """Deletes a job that has ended."""
    job, now = _job(call)
    if job.status(now) in FINE_TUNES.active:
        raise Refusal(400, f"{job.id} is {job.status(now)}; cancel it before deleting it.")
    call.world.table(FINE_TUNES).remove(job)
    return json_reply({"message": f"Fine-tune job {job.id} deleted"})


@group.get("/fine-tunes/{id}/events")
async def list_events(call: Call) -> Response:
    """What has happened, oldest first."""
    job, now = _job(call)
    return json_reply({"data": events(call.world, job, now)})


@group.get("/fine-tunes/{id}/checkpoints")
async def list_checkpoints(call: Call) -> Response:
    """The saved states of the model."""
    job, now = _job(call)
    return json_reply({"data": checkpoints(call.world, job, now)})


@group.get("/fine-tunes/{id}/metrics")
async def list_metrics(call: Call) -> Response:
    """Loss and learning rate by step. The filters come in the query or, as the specification has it, in a body."""
    job, now = _job(call)
    filters = await _metric_filters(call)
    clock = call.world.clock
    rows = [
        _metric(metric, clock.wall(at))
        for at, metric in metrics(call.world, job, now)
        if filters.admits(metric.step, clock.wall(at))
    ]
    return json_reply({"metrics": _thinned(rows, filters.resolution)})


@group.post("/fine-tunes/{id}/cancel")
async def cancel(call: Call) -> Response:
    """Stops a job; what it has done so far is charged."""
    job, now = _job(call)
    status = job.status(now)
    table = call.world.table(FINE_TUNES)
    if status not in FINE_TUNES.active:
        raise Refusal(400, f"{job.id} is {status} and cannot be cancelled.", code="job_not_cancellable")
    if status != "cancel_requested":
        now = table.end(job, "cancel_requested")
        job.stages.append(Stage("cancelled", now + CANCEL_SECONDS))
        table.save(job)
        table.count_cancelled()
    return json_reply(FINE_TUNES.row(call.world, job, now))


def _job(call: Call) -> tuple[FineTune, float]:
    return call.world.table(FINE_TUNES).get(call.path_params["id"]), call.world.clock.now()


def _starting_point(world: World, request: EstimateRequest) -> tuple[BaseModel, FineTune | None]:
    """The base model, and the fine-tune that is continued if one is."""
    if not request.from_checkpoint:
        if not request.model:
            raise Refusal(400, "Object missing required field `model`", param="model")
        return known_model(request.model), None
    name, _, step = request.from_checkpoint.partition(":")
    table = world.table(FINE_TUNES)
    parent = table.find(name) or table.find_by_key(name)
    if parent is None or parent.status(world.clock.now()) != "completed":
        raise Refusal(400, f"from_checkpoint: no completed fine-tune {name}.", param="from_checkpoint")
    if step and step not in map(str, parent.checkpoint_steps()):
        raise Refusal(400, f"from_checkpoint: {name} has no checkpoint at step {step}.", param="from_checkpoint")
    return known_model(parent.model), parent


def _unestimated(world: World, file: File | None, which: str) -> str:
    if file is None:
        return ""
    status = FILES.row(world, file, world.clock.now()).get("processing_status")
    if file.report.has_images:
        return "multimodal_dataset"
    if status == "COMPLETED":
        return ""
    return f"{which}_file_invalid" if status in ("INVALID_FORMAT", "FAILED") else f"{which}_file_not_validated"


def _metric(metric: StepMetric, logged_at: float) -> dict[str, Any]:
    row = {
        "global_step": metric.step,
        "logged_at": logged_at,
        "epoch": metric.epoch,
        "train/loss": metric.loss,
        "train/learning_rate": metric.learning_rate,
        "train/grad_norm": metric.grad_norm,
    }
    if metric.eval_loss is not None:
        row["eval/loss"] = metric.eval_loss
    return row


class MetricFilters(msgspec.Struct):
    """Which steps to show: by number, by time, and how many."""

    global_step_from: int = 0
    global_step_to: float = math.inf
    logged_at_from: Annotated[datetime, msgspec.Meta(tz=True)] = datetime.min.replace(tzinfo=UTC)
    logged_at_to: Annotated[datetime, msgspec.Meta(tz=True)] = datetime.max.replace(tzinfo=UTC)
    resolution: int | None = None

    def admits(self, step: int, logged_at: float) -> bool:
        in_steps = self.global_step_from <= step <= self.global_step_to
        return in_steps and self.logged_at_from <= datetime.fromtimestamp(logged_at, UTC) <= self.logged_at_to


async def _metric_filters(call: Call) -> MetricFilters:
    if await call.limited_body():
        return await call.read(MetricFilters)
    try:
        return msgspec.convert(dict(call.query_params), MetricFilters, strict=False)
    except msgspec.ValidationError as error:
        raise Refusal(400, str(error)) from None


def _thinned(rows: list[dict[str, Any]], resolution: int | None) -> list[dict[str, Any]]:
    """At most so many rows, evenly spread, the first and the last among them."""
    if resolution is None or len(rows) <= resolution or resolution < 2:
        return rows
    last = len(rows) - 1
    return [rows[round(index * last / (resolution - 1))] for index in range(resolution)]
