"""Fine-tunes: a plan made when the job is created, training that is really computed, and what can be seen of both."""

from __future__ import annotations

import math
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from together_flows.emulator.catalogue import BaseModel, model_limits
from together_flows.emulator.examples import Example, read_examples
from together_flows.emulator.files import File, content_path
from together_flows.emulator.fine_tune_request import FineTuneRequest, lora_of, method_of
from together_flows.emulator.jobs import Job, JobKind, Stage
from together_flows.emulator.learner import Learned, StepMetric, train
from together_flows.emulator.pricing import NANO, fine_tune_price
from together_flows.emulator.world import ACCOUNT, World

__all__ = ["FINE_TUNES", "FineTune", "learned_examples", "learned_model", "plan"]

QUEUED_AT, RUNNING_AT = 5.0, 20.0
SETUP_SECONDS = 40.0
"""Downloading the data and the model before the first step."""
COMPRESSING_SECONDS, UPLOADING_SECONDS = 40.0, 30.0
BASE_TRAINING_SECONDS, SECONDS_PER_SAMPLE, MAX_TRAINING_SECONDS = 240.0, 0.03, 4 * 3600.0
CANCEL_SECONDS = 10.0


class FineTune(Job, kw_only=True):
    """A fine-tune.

    Attributes:
        model: the base model.
        request: what was asked for, with its secrets taken out.
        lora: the adapter's settings; None for full training.
        samples: examples in the training file.
        train_tokens: tokens of all epochs and evaluations together.
        price: US dollars for the whole run.
        steps: training steps in all epochs.
        training_seconds: emulator seconds from the first step to the last.
        output_name: the name of the tuned model.
        parent: the fine-tune whose checkpoint it starts from.
        wandb: whether a Weights & Biases key was given.
    """

    model: str
    request: dict[str, Any]
    method: dict[str, Any]
    lora: dict[str, Any] | None
    training_file: str
    training_file_bytes: int
    samples: int
    train_tokens: int
    price: float
    batch_size: int
    steps: int
    training_seconds: float
    output_name: str
    param_count: int
    parent: str = ""
    wandb: bool = False

    @property
    def epochs(self) -> int:
        return int(self.request["n_epochs"])

    @property
    def first_step_at(self) -> float:
        return self.created + RUNNING_AT + SETUP_SECONDS

    def step_at(self, step: int) -> float:
        """The moment at which a step is done."""
        return self.first_step_at + self.training_seconds * step / self.steps

    def ended_at(self) -> float:
        """The moment training stops: where it is cut short, or past its last step."""
        cut = [stage.at for stage in self.stages if stage.status in ("cancel_requested", "cancelled", "error")]
        return min([self.step_at(self.steps), *cut])

    def steps_done(self, now: float) -> int:
        passed = min(now, self.ended_at()) - self.first_step_at
        return max(0, min(self.steps, math.floor(self.steps * passed / self.training_seconds + 1e-9)))

    def checkpoint_steps(self) -> list[int]:
        """The steps after which the model is saved; the last is the end of training."""
        wanted = min(int(self.request["n_checkpoints"]), self.steps)
        return sorted({round(self.steps * number / wanted) for number in range(1, wanted + 1)})


class _FineTunes(JobKind[FineTune]):
    name = "fine_tune"
    noun = "Fine-tune job"
    active = frozenset({"pending", "queued", "running", "compressing", "uploading", "cancel_requested"})
    failure = "error"
    tick = 2.0
    record = FineTune

    def key(self, job: FineTune) -> str:
        return job.output_name

    def row(self, world: World, job: FineTune, now: float) -> dict[str, Any]:
        """The truncated object: the one that shows suffix and wandb_name."""
        return {
            **_both(world, job, now),
            "user_id": ACCOUNT,
            "owner_address": f"{ACCOUNT}@localhost",
            "events": [],
            "packing": job.request["packing"],
            "suffix": job.request.get("suffix", ""),
            "batch_size": job.batch_size,
            "random_seed": job.request.get("random_seed"),
            "wandb_name": job.request.get("wandb_name", ""),
        }

    def work(self, world: World, job: FineTune) -> None:
        examples = read_examples(content_path(world, job.training_file))
        validation_file = job.request.get("validation_file")
        learned = _trained(
            content_path(world, job.training_file),
            content_path(world, validation_file) if validation_file else None,
            epochs=job.epochs,
            batch_size=job.batch_size,
            total_steps=job.steps,
            evals=job.request["n_evals"],
            learning_rate=job.request["learning_rate"],
            seed=job.request.get("random_seed") or 42,
        )
        if job.parent:
            examples = [*examples, *learned_examples(world, job.parent)]
        folder = world.path("models", job.id)
        folder.mkdir(exist_ok=True)
        (folder / "examples.msgpack").write_bytes(msgspec.msgpack.encode(examples))
        (folder / "learned.msgpack").write_bytes(msgspec.msgpack.encode(learned))

    def settle(self, world: World, job: FineTune, result: None, now: float) -> None:
        if job.status(now) not in ("pending", "queued", "running"):
            return
        trained = max(job.step_at(job.steps), now)
        job.stages += [
            Stage("compressing", trained),
            Stage("uploading", trained + COMPRESSING_SECONDS),
            Stage("completed", trained + COMPRESSING_SECONDS + UPLOADING_SECONDS),
        ]

    def fields(self, world: World, job: FineTune, now: float) -> dict[str, Any]:
        return {"billed_usd": charged(job, now), "model_output_name": job.output_name}


FINE_TUNES = _FineTunes()


@lru_cache(maxsize=8)
def _trained(training: Path, validation: Path | None, **how: Any) -> Learned:
    """What is learned from files, which never change. Jobs that are alike, as hundreds in a test, share the work."""
    return train(read_examples(training), read_examples(validation) if validation else [], **how)


def plan(world: World, request: FineTuneRequest, model: BaseModel, files: tuple[File, File | None]) -> FineTune:
    """A new fine-tune with everything decided: steps, price, times and the name of its model."""
    training, validation = files
    identity = str(uuid.uuid4())
    lora = lora_of(request, model_limits(model))
    method = method_of(request)
    samples = training.report.nlines
    batch_size = _batch_size(request, model, full=lora is None, dpo=method["method"] == "dpo")
    tokens = total_tokens(request, training, validation)
    born = world.born()
    suffix = f"-{request.suffix}" if request.suffix else ""
    return FineTune(
        id=f"ft-{identity}",
        created=born.created,
        visible=born.visible,
        stages=[
            Stage("pending", born.created),
            Stage("queued", born.created + QUEUED_AT),
            Stage("running", born.created + RUNNING_AT),
        ],
        computed=False,
        model=model.id,
        request=_without_secrets(request),
        method=method,
        lora=None if lora is None else msgspec.to_builtins(lora),
        training_file=training.id,
        training_file_bytes=training.bytes,
        samples=samples,
        train_tokens=tokens,
        price=fine_tune_price(model, tokens=tokens, full=lora is None, dpo=method["method"] == "dpo"),
        batch_size=batch_size,
        steps=request.n_epochs * math.ceil(samples / batch_size),
        training_seconds=min(
            MAX_TRAINING_SECONDS, BASE_TRAINING_SECONDS + SECONDS_PER_SAMPLE * samples * request.n_epochs
        ),
        output_name=f"{ACCOUNT}/{model.short_name}{suffix}-{identity[:8]}",
        param_count=round(model.billions * 1e9),
        wandb=bool(request.wandb_api_key or request.wandb_key),
    )


def total_tokens(request: Any, training: File, validation: File | None) -> int:
    """Tokens that are charged: epochs x training + evaluations x validation."""
    evaluated = request.n_evals * validation.report.tokens if validation else 0
    return int(request.n_epochs * training.report.tokens + evaluated)


def full_view(world: World, job: FineTune, now: float, events: list[dict[str, Any]]) -> dict[str, Any]:
    """The object that only `GET /fine-tunes/{id}` shows. It has neither suffix nor wandb_name."""
    status = job.status(now)
    view = {
        **_both(world, job, now),
        "job_id": job.id.removeprefix("ft-"),
        "batch_size": job.request["batch_size"],
        "trainingfile_numlines": job.samples,
        "trainingfile_size": job.training_file_bytes,
        "epochs_completed": job.epochs * job.steps_done(now) // job.steps,
        "eval_steps": job.steps // job.request["n_evals"] if job.request["n_evals"] else 0,
        "queue_depth": 0,
        "param_count": job.param_count,
        "train_on_inputs": job.method.get("train_on_inputs", "auto"),
        "multimodal_params": job.request.get("multimodal_params") or {"train_vision": False},
        "wandb_url": wandb_url(job),
        "events": events,
    }
    if status == "completed":
        view["model_output_path"] = f"s3://together-emulator/{job.id}/{job.output_name}"
    return view


def wandb_url(job: FineTune) -> str:
    """Where the run would be seen on Weights & Biases; empty without a key. Nothing is sent there."""
    project = job.request.get("wandb_project_name") or "together"
    return f"https://wandb.ai/emulator/{project}/runs/{job.id}" if job.wandb else ""


def charged(job: FineTune, now: float) -> float:
    """US dollars charged: all of the price, what a cancelled job has done of it, or nothing for one that failed."""
    status = job.status(now)
    if status == "error":
        return 0.0
    if status in ("cancel_requested", "cancelled"):
        return round(job.price * job.steps_done(now) / job.steps, 9)
    return job.price


def learned_examples(world: World, job_id: str) -> list[Example]:
    """What the tuned model has learned by heart."""
    return msgspec.msgpack.decode(world.path("models", job_id, "examples.msgpack").read_bytes(), type=list[Example])


def learned_model(world: World, job_id: str) -> Learned:
    """The log and the weights of a run; nothing before it is computed."""
    path = world.path("models", job_id, "learned.msgpack")
    return msgspec.msgpack.decode(path.read_bytes(), type=Learned) if path.exists() else Learned([], {})


def metrics(world: World, job: FineTune, now: float) -> list[tuple[float, StepMetric]]:
    """The steps that are done by now and logged, each with its moment."""
    done = job.steps_done(now)
    return [(job.step_at(m.step), m) for m in learned_model(world, job.id).metrics if m.step <= done]


def _both(world: World, job: FineTune, now: float) -> dict[str, Any]:
    """What the truncated and the full object share."""
    status = job.stage(now)
    view = {
        "id": job.id,
        "status": status.status,
        "created_at": world.clock.iso(job.created),
        "updated_at": world.clock.iso(status.at),
        "training_file": job.training_file,
        "validation_file": job.request.get("validation_file", ""),
        "model": job.model,
        "model_output_name": job.output_name,
        "n_epochs": job.epochs,
        "n_evals": job.request["n_evals"],
        "n_checkpoints": job.request["n_checkpoints"],
        "training_type": job.lora or {"type": "Full"},
        "training_method": job.method,
        "learning_rate": job.request["learning_rate"],
        "lr_scheduler": job.request.get("lr_scheduler")
        or {"lr_scheduler_type": "cosine", "lr_scheduler_args": {"min_lr_ratio": 0.0, "num_cycles": 0.5}},
        "warmup_ratio": job.request["warmup_ratio"],
        "max_grad_norm": job.request["max_grad_norm"],
        "weight_decay": job.request["weight_decay"],
        "token_count": job.train_tokens,
        "total_price": round(charged(job, now) * NANO),
        "wandb_project_name": job.request.get("wandb_project_name", ""),
        "from_checkpoint": job.request.get("from_checkpoint", ""),
        "from_hf_model": job.request.get("from_hf_model", ""),
        "hf_model_revision": job.request.get("hf_model_revision", ""),
        "progress": _progress(world, job, now),
    }
    started = job.entered("running")
    if started is not None and started <= now:
        view["started_at"] = world.clock.iso(started)
    return view


def _progress(world: World, job: FineTune, now: float) -> dict[str, Any]:
    estimated = job.status(now) in ("running", "compressing", "uploading")
    end = job.step_at(job.steps) + COMPRESSING_SECONDS + UPLOADING_SECONDS
    return {"estimate_available": estimated, "seconds_remaining": max(0, math.ceil(end - now)) if estimated else 0}


def _batch_size(request: FineTuneRequest, model: BaseModel, *, full: bool, dpo: bool) -> int:
    if isinstance(request.batch_size, int):
        return request.batch_size
    limits = model_limits(model)["full_training" if full else "lora_training"]
    return int(limits["max_batch_size_dpo" if dpo else "max_batch_size"])


def _without_secrets(request: FineTuneRequest) -> dict[str, Any]:
    secret = {"wandb_api_key", "wandb_key", "hf_api_token"}
    return {key: value for key, value in msgspec.structs.asdict(request).items() if key not in secret}
