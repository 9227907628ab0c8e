"""A person at a desk who submits jobs of any kind to an emulator, waits for them and ends them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from together_flows import Together
from together_flows.emulator.control_plane import ControlPlane
from together_flows.jobs import JobRecord, JobReference, MemoryStore, SubmissionPolicy, WaitPolicy, kind_named, run
from together_flows.jobs.outcome import Outcome, conclude
from together_flows.jobs.steps import Steps
from together_flows.jobs.submission import submission
from together_flows.jobs.waiting import waiting

MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
JUDGE = {"model": "Qwen/Qwen2.5-72B-Instruct", "model_source": "serverless", "system_template": "Is it {{ answer }}?"}
HARDWARE = "1x_nvidia_h100_80gb_sxm"

Json = dict[str, Any]


class HurriedClock:
    """A clock that runs faster than the machine's, so that pauses meant for a remote service pass quickly."""

    def __init__(self, speed: float = 30.0) -> None:
        self._speed = speed
        self._began = time.time()
        self._began_counting = time.monotonic()

    def now(self) -> float:
        return self._began + self.elapsed()

    def elapsed(self) -> float:
        return (time.monotonic() - self._began_counting) * self._speed

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / self._speed)

    async def asleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._speed)


@dataclass
class Desk:
    """Where jobs are submitted from. Pauses are hurried; `log` keeps what people would read."""

    emulator: ControlPlane
    client: Together
    folder: Path
    clock: HurriedClock = field(default_factory=HurriedClock)
    store: MemoryStore = field(default_factory=MemoryStore)
    log: list[str] = field(default_factory=list)

    def run(self, steps: Steps[Any], key: str = "task") -> Any:
        return run(
            steps, client=self.client, store=self.store, key=key, clock=self.clock, log=lambda text, _: self.note(text)
        )

    def note(self, text: str) -> None:
        self.log.append(text)

    def submit(self, name: str, spec: Mapping[str, Any], *, key: str = "task", **policy: Any) -> JobRecord:
        record = self.run(submission(kind_named(name), spec, SubmissionPolicy(**policy)), key)
        assert isinstance(record, JobRecord)
        return record

    def wait(self, reference: JobReference, **policy: Any) -> Outcome:
        """Wait as a task does that stays in its process."""
        patience = WaitPolicy(**{"interval": 2.0, "first": 0.5, "deadline": self.clock.now() + 600, **policy})
        outcome: Outcome = self.run(waiting(kind_named(reference.kind), reference.id, patience))
        return outcome

    def conclude(self, reference: JobReference, outcome: Outcome) -> Json:
        steps = conclude(kind_named(reference.kind), reference, outcome, base_url=self.emulator.url)
        return dict(self.run(steps))

    def finished(self, name: str, spec: Mapping[str, Any]) -> Json:
        """The manifest of a job from its submission to its end."""
        reference = self.submit(name, spec, key=f"{name}-{len(self.store.records)}").reference
        return self.conclude(reference, self.wait(reference))

    def rows(self, name: str, rows: Iterable[Json]) -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def uploaded(self, path: Path, purpose: str) -> str:
        return str(self.finished("file", {"path": str(path), "purpose": purpose})["file_id"])

    def created(self, name: str) -> int:
        return int(self.emulator.counts()["created"][name])

    def running(self, name: str) -> int:
        return int(self.emulator.counts()["running"][name])


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of job against the emulator.

    Attributes:
        spec: what to submit, made at a desk.
        creates: method and path of its creation.
        reads: path by which one is read.
        findable: whether a lost one is found again.
        tells_why: whether the API says why one failed.
        ending_speed: how fast the emulator runs where a job is to be ended before it is done.
    """

    spec: Callable[[Desk], Json]
    creates: str
    reads: str
    findable: bool = True
    tells_why: bool = True
    ending_speed: float = 5.0


def _conversations(desk: Desk) -> Path:
    def row(number: int) -> Json:
        question, answer = f"Where is parcel {number}?", f"In depot {number}."
        return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}

    return desk.rows("train.jsonl", map(row, range(8)))


def _requests(desk: Desk) -> Path:
    def row(number: int) -> Json:
        messages = [{"role": "user", "content": f"Where is parcel {number}?"}]
        return {"custom_id": str(number), "body": {"model": MODEL, "messages": messages, "max_tokens": 16}}

    return desk.rows("requests.jsonl", map(row, range(4)))


def _evaluation(desk: Desk) -> Json:
    rows = desk.rows("heldout.jsonl", [{"question": f"Parcel {n}?", "answer": f"Depot {n}."} for n in range(3)])
    evaluated = {
        "model": MODEL,
        "model_source": "serverless",
        "system_template": "Answer.",
        "input_template": "{{ question }}",
        "max_tokens": 16,
        "temperature": 0.0,
    }
    scale = {"min_score": 0, "max_score": 10, "pass_threshold": 5}
    return {
        "type": "score",
        "input_path": str(rows),
        "parameters": {"judge": JUDGE, "model_to_evaluate": evaluated, **scale},
    }


def _sampling(desk: Desk) -> Json:
    session = desk.finished("rl_session", {"base_model": MODEL})
    prompts = [{"chunks": [{"encoded_text": {"tokens": [1, 2, 3]}}]}]
    return {"session_id": session["id"], "operation": "sample", "prompts": prompts, "num_samples": 2}


CASES: Mapping[str, Case] = {
    "file": Case(
        spec=lambda desk: {"path": str(_conversations(desk)), "purpose": "fine-tune"},
        creates="/files",
        reads="/files/{id}",
    ),
    "fine_tune": Case(
        spec=lambda desk: {
            "training_file": desk.uploaded(_conversations(desk), "fine-tune"),
            "model": MODEL,
            "n_epochs": 1,
            "suffix": "parcels",
        },
        creates="/fine-tunes",
        reads="/fine-tunes/{id}",
        ending_speed=60.0,
    ),
    "batch": Case(
        spec=lambda desk: {"input_path": str(_requests(desk)), "endpoint": "/v1/chat/completions"},
        creates="/batches",
        reads="/batches/{id}",
        ending_speed=0.01,
    ),
    "evaluation": Case(spec=_evaluation, creates="/evaluation", reads="/evaluation/{id}"),
    "endpoint": Case(
        spec=lambda desk: {
            "model": MODEL,
            "hardware": HARDWARE,
            "autoscaling": {"min_replicas": 1, "max_replicas": 1},
        },
        creates="/endpoints",
        reads="/endpoints/{endpointId}",
        tells_why=False,
    ),
    "model_upload": Case(
        spec=lambda desk: {"model_name": "copied", "model_source": "org/model"},
        creates="/models",
        reads="/jobs/{jobId}",
    ),
    "deployment": Case(
        spec=lambda desk: {
            "name": "detector",
            "image": "registry.together.ai/me/detector:1",
            "gpu_type": "h100-80gb",
            "gpu_count": 1,
            "port": 8000,
        },
        creates="/deployments",
        reads="/deployments/{id}",
    ),
    "cluster": Case(
        spec=lambda desk: {
            "cluster_name": "training",
            "region": "us-central-8",
            "gpu_type": "H100_SXM",
            "num_gpus": 8,
            "billing_type": "ON_DEMAND",
            "driver_version": "CUDA_12_6_560",
        },
        creates="/compute/clusters",
        ending_speed=200.0,
        reads="/compute/clusters/{cluster_id}",
        tells_why=False,
    ),
    "shared_volume": Case(
        spec=lambda desk: {"volume_name": "data", "size_tib": 1, "region": "us-central-8"},
        creates="/compute/clusters/storage/volumes",
        reads="/compute/clusters/storage/volumes/{volume_id}",
        tells_why=False,
    ),
    "video": Case(
        spec=lambda desk: {"model": "minimax/hailuo-02", "prompt": "a red bus"},
        creates="/videos",
        reads="/videos/{id}",
        findable=False,
    ),
    "queue": Case(
        spec=lambda desk: {"model": "me/detector", "payload": {"image": "a"}},
        creates="/queue/submit",
        reads="/queue/status",
        findable=False,
        ending_speed=0.01,  # what has begun cannot be cancelled
    ),
    "rl_session": Case(
        spec=lambda desk: {"base_model": MODEL, "lora_config": {"rank": 8, "alpha": 16}},
        creates="/rl/training-sessions",
        reads="/rl/training-sessions/{session_id}",
        findable=False,
        tells_why=False,
        ending_speed=60.0,
    ),
    "rl_operation": Case(
        spec=_sampling,
        creates="/rl/training-sessions/{session_id}/operations/sample",
        reads="/rl/training-sessions/{session_id}/operations/sample/{operation_id}",
    ),
}
