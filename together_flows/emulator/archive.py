"""A tuned model as a downloadable archive: a real tar.gz with real numbers in it, if very few of them."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path

import msgspec

from together_flows.emulator.fine_tunes import FineTune, learned_model
from together_flows.emulator.world import World

__all__ = ["build_archive"]


def build_archive(world: World, job: FineTune, *, variant: str, step: int) -> Path:
    """Builds the archive, or takes the one that was built before. The same model gives the same bytes.

    Args:
        world: where the learned model lies.
        job: the fine-tune.
        variant: "merged", "adapter" or "model_output_path".
        step: the checkpoint's step.
    """
    path = world.path("models", job.id, f"{variant}-{step}.tar.gz")
    if not path.exists():
        files = _adapter(world, job, step) if variant == "adapter" else _model(world, job, step)
        building = path.with_suffix(".building")
        building.write_bytes(_tar_gz(files, modified=world.clock.epoch(job.created)))
        building.replace(path)
    return path


def _adapter(world: World, job: FineTune, step: int) -> dict[str, bytes]:
    lora = job.lora or {}
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": job.model,
        "r": lora.get("lora_r"),
        "lora_alpha": lora.get("lora_alpha"),
        "lora_dropout": lora.get("lora_dropout"),
        "target_modules": lora.get("lora_trainable_modules"),
    }
    return {"adapter_config.json": _json(config), **_weights(world, job, step, "adapter_model.safetensors")}


def _model(world: World, job: FineTune, step: int) -> dict[str, bytes]:
    config = {"architectures": ["EmulatorForCausalLM"], "_name_or_path": job.output_name, "base_model": job.model}
    return {"config.json": _json(config), **_weights(world, job, step, "model.safetensors")}


def _weights(world: World, job: FineTune, step: int, name: str) -> dict[str, bytes]:
    learned = learned_model(world, job.id)
    vocabulary = list(learned.vocabulary)
    share = step / job.steps
    log = [metric for metric in learned.metrics if metric.step <= step]
    return {
        "README.md": (
            f"# {job.output_name}\n\nMade by the Together emulator. It holds the word weights that were learned from "
            f"the training file up to step {step}, not a language model.\n"
        ).encode(),
        name: _safetensors("emulator.word_weight", [learned.vocabulary[word] * share for word in vocabulary]),
        "vocab.json": _json({word: index for index, word in enumerate(vocabulary)}),
        "trainer_state.json": _json({"global_step": step, "max_steps": job.steps, "log_history": log}),
    }


def _safetensors(tensor: str, values: list[float]) -> bytes:
    """One float32 tensor in the safetensors format: the header's length, the header, the numbers."""
    data = struct.pack(f"<{len(values)}f", *values)
    header = msgspec.json.encode({tensor: {"dtype": "F32", "shape": [len(values)], "data_offsets": [0, len(data)]}})
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def _tar_gz(files: dict[str, bytes], modified: int) -> bytes:
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=modified) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w") as tar,
    ):
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content), modified, 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2)
