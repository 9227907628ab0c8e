"""What a fine-tune may ask for, and every way in which it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from together_flows.emulator.catalogue import BaseModel, base_model, model_limits
from together_flows.emulator.files import FILES, File, usable
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.world import World

__all__ = ["EstimateRequest", "FineTuneRequest", "LoRA", "check_request", "known_model", "lora_of", "method_of"]

MAX_SUFFIX = 40
"""Characters; the official SDK names this limit."""


class LoRA(msgspec.Struct, omit_defaults=False, kw_only=True):
    """Training an adapter."""

    lora_r: int
    lora_alpha: int
    type: str = "Lora"
    lora_dropout: float = 0.0
    lora_trainable_modules: str = "all-linear"


class EstimateRequest(msgspec.Struct, kw_only=True):
    """The body of estimate-price."""

    training_file: str
    validation_file: str = ""
    model: str = ""
    n_epochs: int = 1
    n_evals: int = 0
    training_method: dict[str, Any] = msgspec.field(default_factory=lambda: {"method": "sft"})
    training_type: dict[str, Any] | None = None
    from_checkpoint: str = ""


class FineTuneRequest(EstimateRequest, kw_only=True):
    """The body of a new fine-tune. `wandb_key` is what every SDK sends for the documented `wandb_api_key`."""

    packing: bool = True
    n_checkpoints: int = 1
    batch_size: int | str = "max"
    learning_rate: float = 1e-5
    lr_scheduler: dict[str, Any] | None = None
    warmup_ratio: float = 0.0
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    random_seed: int | None = None
    max_seq_length: int | None = None
    suffix: str = ""
    train_on_inputs: bool | str | None = None
    multimodal_params: dict[str, Any] | None = None
    wandb_api_key: str = ""
    wandb_key: str = ""
    wandb_base_url: str = ""
    wandb_project_name: str = ""
    wandb_name: str = ""
    wandb_entity: str = ""
    from_hf_model: str = ""
    hf_model_revision: str = ""
    hf_api_token: str = ""
    hf_output_repo_name: str = ""


@dataclass(frozen=True)
class _Range:
    low: float
    high: float

    def check(self, name: str, value: float) -> None:
        if not self.low <= value <= self.high:
            raise Refusal(400, f"{name} must be between {self.low:g} and {self.high:g}, got {value:g}.", param=name)


def check_request(request: FineTuneRequest, world: World, model: BaseModel) -> tuple[File, File | None]:
    """Checks all that can be wrong with a request, apart from the name of its model.

    Returns:
        The training file and, if one is named, the validation file.

    Raises:
        Refusal: 400, naming the field.
    """
    limits = model_limits(model)
    _Range(1, limits["max_num_epochs"]).check("n_epochs", request.n_epochs)
    _Range(0, limits["max_num_evals"]).check("n_evals", request.n_evals)
    _Range(1, limits["max_num_checkpoints"]).check("n_checkpoints", request.n_checkpoints)
    _Range(limits["min_learning_rate"], limits["max_learning_rate"]).check("learning_rate", request.learning_rate)
    _Range(0, 1).check("warmup_ratio", request.warmup_ratio)
    _Range(0, float("inf")).check("max_grad_norm", request.max_grad_norm)
    _Range(0, float("inf")).check("weight_decay", request.weight_decay)
    if len(request.suffix) > MAX_SUFFIX:
        raise Refusal(400, f"suffix must have at most {MAX_SUFFIX} characters.", param="suffix")
    method = method_of(request)
    lora = lora_of(request, limits)
    _check_batch_size(request.batch_size, limits["lora_training" if lora else "full_training"], method["method"])
    _check_scheduler(request.lr_scheduler)
    training = ready_file(world, request.training_file, field="training_file", method=method["method"])
    validation = None
    if request.validation_file:
        validation = ready_file(world, request.validation_file, field="validation_file", method=method["method"])
    if request.n_evals and validation is None:
        raise Refusal(400, "n_evals needs a validation_file.", param="n_evals")
    return training, validation


def method_of(request: EstimateRequest) -> dict[str, Any]:
    """The training method with its defaults.

    Raises:
        Refusal: 400, it is none.
    """
    method = {key: value for key, value in request.training_method.items() if value is not None}
    match method.get("method"):
        case "sft":
            return {"train_on_inputs": "auto", **method}
        case "dpo":
            defaults = {
                "dpo_beta": 0.1,
                "rpo_alpha": 0.0,
                "dpo_normalize_logratios_by_length": False,
                "dpo_reference_free": False,
                "simpo_gamma": 0.0,
            }
            return {**defaults, **method}
    raise Refusal(400, f"training_method.method must be sft or dpo, got {method.get('method')!r}.", param="method")


def lora_of(request: EstimateRequest, limits: dict[str, Any]) -> LoRA | None:
    """The adapter to train; None for full training. LoRA is what the service picks when nothing is said.

    Raises:
        Refusal: 400, the training type is none, or its arguments are out of bounds.
    """
    wanted = request.training_type
    if wanted is not None and wanted.get("type") == "Full":
        return None
    rank = limits["lora_training"]["default_rank"]
    if not wanted:
        return LoRA(lora_r=rank, lora_alpha=2 * rank)
    if wanted.get("type") != "Lora":
        raise Refusal(400, f"training_type.type must be Full or Lora, got {wanted.get('type')!r}.", param="type")
    try:
        lora = msgspec.convert({key: value for key, value in wanted.items() if value is not None}, LoRA)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"training_type: {error}", param="training_type") from None
    _Range(1, limits["lora_training"]["max_rank"]).check("lora_r", lora.lora_r)
    _Range(1, float("inf")).check("lora_alpha", lora.lora_alpha)
    if not 0 <= lora.lora_dropout < 1:
        raise Refusal(400, "lora_dropout must be at least 0 and below 1.", param="lora_dropout")
    return lora


def ready_file(world: World, file_id: str, *, field: str, method: str) -> File:
    """The file, when it can be trained on.

    Raises:
        Refusal: 400, it is missing, of another purpose, not checked yet, broken, or in a format of another method.
    """
    file = usable(world, file_id, field=field)
    status = FILES.row(world, file, world.clock.now()).get("processing_status")
    if file.purpose != "fine-tune":
        raise Refusal(400, f"{field}: {file_id} has purpose {file.purpose}, not fine-tune.", param=field)
    if status in ("INVALID_FORMAT", "FAILED"):
        raise Refusal(400, f"{field}: {file_id} is invalid: {file.error}", param=field, code="invalid_file")
    if status != "COMPLETED":
        raise Refusal(
            400,
            f"{field}: {file_id} is still being processed (processing_status {status}); wait for COMPLETED.",
            param=field,
            code="file_not_processed",
        )
    if (file.report.format == "preference") != (method == "dpo"):
        raise Refusal(400, f"{field}: format {file.report.format} does not fit method {method}.", param=field)
    return file


def known_model(name: str) -> BaseModel:
    """The base model that is to be trained.

    Raises:
        Refusal: 404, there is no such model; 400, it cannot be fine-tuned.
    """
    model = base_model(name)
    if model is None:
        raise Refusal(404, f"Model {name!r} was not found.", param="model", code="model_not_available")
    if not model.fine_tunable:
        raise Refusal(400, f"Model {name} is not supported for fine-tuning.", param="model")
    return model


def _check_batch_size(size: int | str, limits: dict[str, Any], method: str) -> None:
    if isinstance(size, str):
        if size != "max":
            raise Refusal(400, f'batch_size must be a whole number or "max", got {size!r}.', param="batch_size")
        return
    most = limits["max_batch_size_dpo" if method == "dpo" else "max_batch_size"]
    _Range(limits["min_batch_size"], most).check("batch_size", size)


def _check_scheduler(scheduler: dict[str, Any] | None) -> None:
    if scheduler and scheduler.get("lr_scheduler_type") not in ("linear", "cosine"):
        raise Refusal(400, "lr_scheduler_type must be linear or cosine.", param="lr_scheduler")
