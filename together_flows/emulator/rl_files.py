"""The files of a checkpoint: what a policy has learned, in the safetensors format."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import msgspec

from together_flows.emulator.policy import VOCABULARY, Policy
from together_flows.emulator.rl import Checkpoint, policy_path
from together_flows.emulator.world import World

__all__ = ["write_files"]

Files = dict[str, bytes]
Tensors = dict[str, tuple[str, list[int], list[Any]]]
"""By name: the type of the numbers, the shape, the numbers."""


def write_files(world: World, checkpoint: Checkpoint, variant: str) -> list[Path]:
    """Writes the files of one variant of a checkpoint, once, and tells where they are."""
    folder = world.path("media", checkpoint.id, variant)
    if not folder.exists():
        policy = msgspec.msgpack.decode(policy_path(world, checkpoint.id).read_bytes(), type=Policy)
        arriving = folder.with_name(f"{variant}.part")
        arriving.mkdir(parents=True, exist_ok=True)
        for name, content in _files(policy, checkpoint, variant).items():
            (arriving / name).write_bytes(content)
        arriving.rename(folder)
    return sorted(folder.iterdir())


def _files(policy: Policy, checkpoint: Checkpoint, variant: str) -> Files:
    entries = [(before, token, logit) for before, row in policy.logits.items() for token, logit in row.items()]
    tensors: Tensors = {
        "transitions": (
            "I64",
            [len(entries), 2],
            [number for before, token, _ in entries for number in (before, token)],
        ),
        "logits": ("F32", [len(entries)], [logit for _, _, logit in entries]),
    }
    if variant == "adapter":
        adapter = {"peft_type": "LORA", "base_model_name_or_path": checkpoint.model_name}
        return {"adapter_config.json": msgspec.json.encode(adapter), "adapter_model.safetensors": _safetensors(tensors)}
    start: Tensors = {"base": ("F32", [1], [0.0])}
    config = {"model_type": "emulated-bigram", "vocab_size": VOCABULARY, "step": checkpoint.step}
    return {"config.json": msgspec.json.encode(config), "model.safetensors": _safetensors(tensors | start)}


def _safetensors(tensors: Tensors) -> bytes:
    """Tensors in one file: the length of the header, the header, the numbers."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt", "made_by": "together-flows emulator"}}
    numbers = bytearray()
    for name, (dtype, shape, values) in tensors.items():
        start = len(numbers)
        numbers += struct.pack(f"<{len(values)}{'q' if dtype == 'I64' else 'f'}", *values)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, len(numbers)]}
    encoded = msgspec.json.encode(header)
    encoded += b" " * (-len(encoded) % 8)
    return struct.pack("<Q", len(encoded)) + encoded + bytes(numbers)
