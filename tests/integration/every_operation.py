"""Arguments for every operation of the contract, as plain JSON, in an order in which each finds what it needs.

Whoever can send one operation by its name and its arguments can be led through all of them: `walk` does, and answers
with what the emulator has seen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tests.contract import contract
from together_flows.api import OPERATIONS
from together_flows.emulator import Emulator
from together_flows.emulator.sound import wav

__all__ = ["CONTRACT", "EXAMPLES", "Sender", "operations_seen", "walk"]

#: The operations of the contract.
CONTRACT = frozenset(name for name, entry in OPERATIONS.items() if entry.in_contract)

#: Emulator seconds in a second: jobs are over at once, or go on for as long as a test lasts.
_FAST, _SLOW = 1_200, 1

_CHAT = "Qwen/Qwen3-8B"
_TUNED = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
_WHISPER = "openai/whisper-large-v3"
_TEXT = {"chunks": [{"encoded_text": {"tokens": [1, 2, 3]}}]}


class Sender(Protocol):
    """Sends an operation, and answers with plain JSON."""

    def __call__(self, operation: str, arguments: dict[str, Any], **beside: Any) -> Any: ...


class From(NamedTuple):
    """A value out of an earlier answer: of the last call of an operation, at a path of keys."""

    operation: str
    path: str

    def value(self, answers: Mapping[str, Any]) -> Any:
        found = answers[self.operation]
        for key in self.path.split("."):
            found = found[int(key) if key.isdecimal() else key]
        return found


@dataclass(frozen=True)
class Example:
    """A call.

    Attributes:
        operation: its name.
        arguments: by the API's names; each value may be `From` an earlier answer.
        beside: what is given beside the arguments, such as `output_path`.
        until: what the answer must be like; the call is repeated until it is so.
        speed: of the emulator, from this call on; as before by default.
    """

    operation: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)
    until: Callable[[Any], bool] = lambda answer: True
    speed: int = 0


def _ended(answer: Any) -> bool:
    status = str(answer["status"]).lower()
    assert not status.endswith(("error", "failed")), answer
    return status.endswith("completed")


_JUDGE = {
    "model": "meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "model_source": "serverless",
    "system_template": "Is it {{ right }}?",
}
_SESSION = {"session_id": From("rl.create_session", "id")}


def _step(kind: str, **arguments: Any) -> list[Example]:
    """An operation of a training session, and the reading of it."""
    begin = f"rl.{kind}"
    read = f"rl.retrieve_{kind.removeprefix('create_')}"
    ids = {**_SESSION, "operation_id": From(begin, "id")}
    return [Example(begin, {**_SESSION, **arguments}), Example(read, ids, until=_ended)]


EXAMPLES = [
    Example("files.upload", {"file": "train.jsonl", "file_name": "train.jsonl", "purpose": "fine-tune"}, speed=_FAST),
    Example("files.list"),
    Example("files.retrieve", {"id": From("files.upload", "id")}, until=lambda file: bool(file["Processed"])),
    Example("files.content", {"id": From("files.upload", "id")}, {"output_path": "copy.jsonl"}),
    Example("fine_tunes.list_supported_models"),
    Example("fine_tunes.model_limits", {"model_name": _TUNED}),
    Example("fine_tunes.estimate_price", {"training_file": From("files.upload", "id"), "model": _TUNED}),
    Example("fine_tunes.create", {"training_file": From("files.upload", "id"), "model": _TUNED}),
    Example("fine_tunes.list"),
    Example("fine_tunes.retrieve", {"id": From("fine_tunes.create", "id")}, until=_ended),
    Example("fine_tunes.list_events", {"id": From("fine_tunes.create", "id")}),
    Example("fine_tunes.list_checkpoints", {"id": From("fine_tunes.create", "id")}),
    Example(
        "finetune.download",
        {"ft_id": From("fine_tunes.create", "id"), "checkpoint": "adapter"},
        {"output_path": "adapter.tar.gz"},
    ),
    Example("fine_tunes.delete", {"id": From("fine_tunes.create", "id"), "force": True}),
    Example("fine_tunes.create", {"training_file": From("files.upload", "id"), "model": _TUNED}, speed=_SLOW),
    Example("fine_tunes.cancel", {"id": From("fine_tunes.create", "id")}),
    Example("files.upload", {"file": "requests.jsonl", "file_name": "requests.jsonl", "purpose": "batch-api"}),
    Example("batches.create", {"input_file_id": From("files.upload", "id"), "endpoint": "/v1/chat/completions"}),
    Example("batches.list"),
    Example("batches.retrieve", {"id": From("batches.create", "job.id")}),
    Example("batches.cancel", {"id": From("batches.create", "job.id")}),
    Example("queue.submit", {"model": "me/detector", "payload": {"image": "a.png"}}),
    Example("queue.submit", {"model": "me/detector", "payload": {"image": "b.png"}}),
    Example("queue.status", {"request_id": From("queue.submit", "requestId"), "model": "me/detector"}),
    Example("queue.metrics", {"model": "me/detector"}),
    Example("queue.cancel", {"request_id": From("queue.submit", "requestId"), "model": "me/detector"}),
    Example("files.delete", {"id": From("files.upload", "id")}, speed=_FAST),
    Example("files.upload", {"file": "heldout.jsonl", "file_name": "heldout.jsonl", "purpose": "eval"}),
    Example("files.retrieve", {"id": From("files.upload", "id")}, until=lambda file: bool(file["Processed"])),
    Example("evaluation.list_models"),
    Example(
        "evaluation.create",
        {
            "type": "classify",
            "parameters": {
                "judge": _JUDGE,
                "input_data_file_path": From("files.upload", "id"),
                "labels": ["good", "bad"],
                "pass_labels": ["good"],
                "model_to_evaluate": "answer",
            },
        },
    ),
    Example("evaluation.status", {"id": From("evaluation.create", "workflow_id")}, until=_ended),
    Example("evaluation.retrieve", {"id": From("evaluation.create", "workflow_id")}),
    Example("evaluation.list", {"limit": 10}),
    Example("chat.create", {"model": _CHAT, "messages": [{"role": "user", "content": "Good morning?"}]}),
    Example("completions.create", {"model": _CHAT, "prompt": "Once upon a time", "max_tokens": 8}),
    Example("embeddings.create", {"model": "BAAI/bge-base-en-v1.5", "input": ["a red bus", "a blue boat"]}),
    Example("rerank.create", {"model": "Salesforce/Llama-Rank-V1", "query": "bus", "documents": ["a bus", "a boat"]}),
    Example(
        "images.generate",
        {"model": "black-forest-labs/FLUX.1-schnell", "prompt": "A red bus.", "width": 64, "height": 64},
    ),
    Example("videos.create", {"model": "minimax/hailuo-02", "prompt": "A red bus.", "seconds": "1"}),
    Example("videos.retrieve", {"id": From("videos.create", "id")}, until=_ended),
    Example("voices.list"),
    Example(
        "audio.create_speech",
        {"model": "hexgrad/Kokoro-82M", "input": "Good morning.", "voice": "af_alloy", "response_format": "wav"},
        {"output_path": "speech.wav"},
    ),
    Example("audio.create_transcription", {"file": "spoken.wav", "model": _WHISPER}),
    Example("audio.create_translation", {"file": "spoken.wav", "language": "en"}),
    Example(
        "audio.connect_speech",
        {"model": "hexgrad/Kokoro-82M", "voice": "af_alloy"},
        {"session_input": ["Good ", "morning."], "output_path": "session.wav"},
    ),
    Example("realtime.connect", {"model": _WHISPER}, {"session_input": "spoken.wav"}),
    Example("tci.execute", {"code": "print(6 * 7)", "language": "python"}),
    Example("tci.list_sessions"),
    Example("models.list"),
    Example("models.upload", {"model_name": "mine", "model_source": "my-org/my-model"}),
    Example("jobs.list"),
    Example("jobs.retrieve", {"job_id": From("models.upload", "data.job_id")}),
    Example("hardware.list", {"model": _CHAT}),
    Example("clusters.list_availability_zones"),
    Example(
        "endpoints.create",
        {
            "model": _CHAT,
            "hardware": "1x_nvidia_h100_80gb_sxm",
            "autoscaling": {"min_replicas": 1, "max_replicas": 1},
        },
    ),
    Example("endpoints.list", {"type": "dedicated"}),
    Example(
        "endpoints.retrieve",
        {"endpoint_id": From("endpoints.create", "id")},
        until=lambda endpoint: bool(endpoint["state"] == "STARTED"),
    ),
    Example("endpoints.update", {"endpoint_id": From("endpoints.create", "id"), "state": "STOPPED"}),
    Example("endpoints.delete", {"endpoint_id": From("endpoints.create", "id")}),
    Example("deployments.create_secret", {"name": "token", "value": "s3cret"}),
    Example("deployments.list_secrets"),
    Example("deployments.retrieve_secret", {"id": "token"}),
    Example("deployments.update_secret", {"id": "token", "value": "another"}),
    Example("files.upload", {"file": "train.jsonl", "file_name": "weights/a.jsonl", "purpose": "fine-tune"}),
    Example("deployments.download_file", {"filename": "weights/a.jsonl"}, {"output_path": "a.jsonl"}),
    Example(
        "deployments.create_volume",
        {"name": "weights", "type": "readOnly", "content": {"type": "files", "source_prefix": "weights/"}},
    ),
    Example("deployments.list_volumes"),
    Example("deployments.retrieve_volume", {"id": "weights"}),
    Example("deployments.update_volume", {"id": "weights", "content": {"type": "files", "source_prefix": "weights/"}}),
    Example(
        "deployments.create",
        {
            "name": "detector",
            "image": "registry.together.ai/me/detector",
            "gpu_type": "h100-80gb",
            "environment_variables": [{"name": "TOKEN", "value_from_secret": "token"}],
        },
    ),
    Example("deployments.list"),
    Example("deployments.retrieve", {"id": "detector"}),
    Example("deployments.logs", {"id": "detector"}),
    Example("deployments.update", {"id": "detector", "min_replicas": 2, "max_replicas": 2}),
    Example("deployments.delete", {"id": "detector"}),
    Example("deployments.delete_volume", {"id": "weights"}),
    Example("deployments.delete_secret", {"id": "token"}),
    Example("compute.list_regions"),
    Example("compute.create_volume", {"volume_name": "data", "size_tib": 1, "region": "us-central-8"}),
    Example("compute.list_volumes"),
    Example("compute.retrieve_volume", {"volume_id": From("compute.create_volume", "volume_id")}),
    Example("compute.update_volume", {"volume_id": From("compute.create_volume", "volume_id"), "size_tib": 2}),
    Example("compute.delete_volume", {"volume_id": From("compute.create_volume", "volume_id")}),
    Example(
        "compute.create_cluster",
        {
            "cluster_name": "training",
            "region": "us-central-8",
            "gpu_type": "H100_SXM",
            "num_gpus": 8,
            "driver_version": "CUDA_12_8_570",
            "billing_type": "ON_DEMAND",
        },
    ),
    Example("compute.list_clusters"),
    Example(
        "compute.retrieve_cluster",
        {"cluster_id": From("compute.create_cluster", "cluster_id")},
        until=lambda cluster: bool(cluster["status"] == "Ready"),
    ),
    Example("compute.update_cluster", {"cluster_id": From("compute.create_cluster", "cluster_id"), "num_gpus": 16}),
    Example("compute.delete_cluster", {"cluster_id": From("compute.create_cluster", "cluster_id")}),
    Example("rl.create_session", {"base_model": _TUNED, "lora_config": {"rank": 8}}),
    Example("rl.retrieve_session", _SESSION, until=lambda session: bool(session["status"].endswith("RUNNING"))),
    Example("rl.list_sessions", {"limit": 10}),
    *_step(
        "forward_backward",
        samples=[{"model_input": _TEXT, "loss_inputs": {"target_tokens": {"data": [2, 3, 4]}}}],
        loss={"type": "LOSS_TYPE_CROSS_ENTROPY"},
    ),
    *_step("optim_step", learning_rate=1e-4),
    *_step("sample", prompts=[_TEXT], sampling_params={"max_tokens": 4}),
    *_step("create_training_checkpoint"),
    *_step("create_inference_checkpoint"),
    Example("rl.retrieve_session", _SESSION),
    Example(
        "rl.download_checkpoint",
        {"id": From("rl.retrieve_session", "inference_checkpoints.0.id"), "variant": "CHECKPOINT_VARIANT_ADAPTER"},
    ),
    Example("rl.stop_session", _SESSION),
]

#: Seconds after which an answer will not get better any more.
_PATIENCE = 60


def walk(emulator: Emulator, folder: Path, send: Sender) -> set[str]:
    """Send every example, and answer with the operations that the emulator has seen meanwhile.

    Args:
        emulator: an emulator as good as new.
        folder: where files are read and written: a path in an example is a path in it.
        send: sends an operation.
    """
    _write_files(folder)
    answers: dict[str, Any] = {}
    for example in EXAMPLES:
        if example.speed:
            emulator.settings(speed=example.speed)
        arguments = _resolved(example.arguments, answers, folder)
        beside = _resolved(example.beside, answers, folder)
        deadline = time.monotonic() + _PATIENCE
        while not example.until(answer := send(example.operation, arguments, **beside)):
            assert time.monotonic() < deadline, f"{example.operation}: {answer}"
        answers[example.operation] = answer
    return operations_seen(emulator)


def operations_seen(emulator: Emulator) -> set[str]:
    """The contract's operations that have reached the emulator, by what it has counted on its routes."""
    named = {f"{entry.method} {entry.path}": name for name, entry in OPERATIONS.items() if name in CONTRACT}
    declared = {f"{row['method']} {row['path']}" for row in contract.OPERATIONS}
    assert named.keys() == declared, "the table is not the contract's"
    return {named[route] for route in emulator.counts()["requests"] if route in named}


def _resolved(value: Any, answers: Mapping[str, Any], folder: Path) -> Any:
    """A value with what comes from earlier answers, and with the files of the folder in place of their names."""
    match value:
        case From():
            return value.value(answers)
        case Mapping():
            return {key: _placed(key, _resolved(inner, answers, folder), folder) for key, inner in value.items()}
        case list():
            return [_resolved(inner, answers, folder) for inner in value]
    return value


def _placed(key: str, value: Any, folder: Path) -> Any:
    names_file = key in {"file", "output_path", "session_input"} and isinstance(value, str)
    return str(folder / value) if names_file else value


def _write_files(folder: Path) -> None:
    lines: dict[str, list[Any]] = {
        "train.jsonl": [{"prompt": f"Where is parcel {n}?", "completion": f"In depot {n % 7}."} for n in range(20)],
        "heldout.jsonl": [{"answer": "Four.", "right": "4"}] * 3,
        "requests.jsonl": [
            {"custom_id": f"row-{n}", "body": {"model": _CHAT, "messages": [{"role": "user", "content": "Hi"}]}}
            for n in range(3)
        ],
    }
    for name, rows in lines.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "spoken.wav").write_bytes(wav("Good morning.", rate=16_000, encoding="pcm_s16le"))
