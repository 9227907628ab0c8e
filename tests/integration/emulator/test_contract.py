"""The whole contract at once: every operation is served, and every answer has the shape that the contract gives it.

One journey through an account calls all operations, with jobs in several of their states. Each test looks at what one
operation has answered on the way.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from websockets.sync.client import connect

from tests.contract import contract
from together_flows.emulator import Emulator

from .account import BASE_MODEL, Account, conversations, jsonl, requests

Answers = dict[tuple[str, str], list[httpx2.Response]]

ROWS = {(row["method"], row["path"]): row for row in contract.OPERATIONS}
SOCKETS = {key for key, row in ROWS.items() if [answer["status"] for answer in row["answers"]] == [101]}
OVER_HTTP = [key for key in ROWS if key not in SOCKETS]

#: What the contract calls content that has no shape.
BYTES = {"application/octet-stream", "text/plain"}

#: Where the live service, and so the emulator, answers what the contract does not name.
DEPARTURES = {("GET", "/models"): r"\.type: '(audio|transcribe|video)' is not one of"}


class Journey:
    """Calls operations by their templates and keeps the answers."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.answers: Answers = defaultdict(list)
        self.opened: set[tuple[str, str]] = set()
        self._root = account.emulator.url.removesuffix("/v1")

    def call(self, method: str, template: str, ids: dict[str, str] | None = None, **request: Any) -> Any:
        url = f"{self._root}/{ROWS[method, template]['version']}{template.format(**ids or {})}"
        answer = self.account.http.request(method, url, **request)
        self.answers[method, template].append(answer)
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return answer.json() if is_json and answer.content else answer.content

    def get(self, template: str, ids: dict[str, str] | None = None, **query: Any) -> Any:
        return self.call("GET", template, ids, params=query)

    def post(self, template: str, body: Any = None, ids: dict[str, str] | None = None) -> Any:
        return self.call("POST", template, ids, json=body)

    def until(self, template: str, ids: dict[str, str], ready: Callable[[Any], bool], **query: Any) -> Any:
        while not ready(answer := self.get(template, ids, **query)):
            del self.answers["GET", template][1:-1]  # the first and the last are enough
        return answer

    def open(self, path: str, **query: str) -> None:
        url = str(httpx2.URL(self.account.emulator.url.replace("http", "ws", 1) + path, params=query))
        headers = {"Authorization": f"Bearer {self.account.emulator.api_key}"}
        with connect(url, additional_headers=headers, proxy=None) as connection:
            if json.loads(connection.recv(timeout=10))["type"] == "session.created":
                self.opened.add(("GET", path))


@pytest.fixture(scope="module")
def journey() -> Iterator[Journey]:
    with Emulator(speed=3600) as emulator:
        account = Account(emulator)
        made = Journey(account)
        for stage in STAGES:
            stage(made)
        yield made
        account.close()


def files(on: Journey) -> None:
    form = {"purpose": "fine-tune", "file_name": "rows.jsonl", "file_type": "jsonl"}
    file = on.call("POST", "/files/upload", data=form, files={"file": ("rows.jsonl", jsonl(conversations()))})
    ids = {"id": file["id"]}
    on.until("/files/{id}", ids, lambda row: row["Processed"])
    on.get("/files")
    on.get("/files/{id}/content", ids)
    on.call("DELETE", "/files/{id}", ids)


def fine_tunes(on: Journey) -> None:
    training_file = on.account.training_file()
    on.get("/fine-tunes/models/supported")
    on.get("/fine-tunes/models/limits", model_name=BASE_MODEL)
    on.post("/fine-tunes/estimate-price", {"training_file": training_file, "model": BASE_MODEL})
    body = {"training_file": training_file, "validation_file": training_file, "model": BASE_MODEL, "suffix": "s"}
    ids = {"id": on.post("/fine-tunes", body)["id"]}
    on.until("/fine-tunes/{id}", ids, lambda job: job["status"] == "completed")
    on.get("/fine-tunes/{id}/events", ids)
    on.get("/fine-tunes/{id}/checkpoints", ids)
    on.get("/finetune/download", ft_id=ids["id"], checkpoint="merged")
    on.account.emulator.settings(speed=1)
    second = {"id": on.post("/fine-tunes", body)["id"]}
    on.post("/fine-tunes/{id}/cancel", None, second)
    on.account.emulator.settings(speed=3600)
    on.until("/fine-tunes/{id}", second, lambda job: job["status"] == "cancelled")
    on.get("/fine-tunes")
    on.call("DELETE", "/fine-tunes/{id}", second)


def inference(on: Journey) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    on.post("/chat/completions", {"model": BASE_MODEL, "messages": messages})
    on.post("/completions", {"model": BASE_MODEL, "prompt": "Once", "echo": True})
    on.post("/embeddings", {"model": "BAAI/bge-base-en-v1.5", "input": ["a", "b"]})
    on.post("/rerank", {"model": "Salesforce/Llama-Rank-V1", "query": "a", "documents": ["a", "b"]})
    painting = {"model": "black-forest-labs/FLUX.1-schnell", "prompt": "a", "width": 64, "height": 64}
    for response_format in ("url", "base64"):
        on.post("/images/generations", painting | {"response_format": response_format})
    on.get("/voices")
    speech = {"model": "hexgrad/Kokoro-82M", "input": "Hi there.", "voice": "af_alloy"}
    for more in (
        {},
        {"response_format": "mp3"},
        {"response_format": "raw"},
        {"response_format": "raw", "stream": True},
    ):
        spoken = on.post("/audio/speech", speech | more)
    spoken = on.post("/audio/speech", speech)
    detail = {"response_format": "verbose_json", "timestamp_granularities": "word", "language": "en"}
    for task in ("/audio/transcriptions", "/audio/translations"):
        for fields in ({}, detail, {**detail, "diarize": "true"}):
            on.call("POST", task, data=fields, files={"file": ("a.wav", spoken)})
    on.open("/audio/speech/websocket", model="hexgrad/Kokoro-82M")
    on.open("/realtime", model="openai/whisper-large-v3")


def models_and_endpoints(on: Journey) -> None:
    on.get("/models")
    upload = on.post("/models", {"model_name": "mine", "model_source": "org/mine", "description": "d"})
    on.until("/jobs/{jobId}", {"jobId": upload["data"]["job_id"]}, lambda job: job["status"] == "Complete")
    on.get("/jobs")
    on.get("/hardware")
    on.get("/hardware", model=BASE_MODEL)
    on.get("/clusters/availability-zones")
    endpoint = on.post(
        "/endpoints",
        {
            "model": BASE_MODEL,
            "hardware": "1x_nvidia_h100_80gb_sxm",
            "autoscaling": {"min_replicas": 1, "max_replicas": 1},
            "display_name": "mine",
        },
    )
    ids = {"endpointId": endpoint["id"]}
    on.until("/endpoints/{endpointId}", ids, lambda row: row["state"] == "STARTED")
    on.get("/endpoints")
    on.call("PATCH", "/endpoints/{endpointId}", ids, json={"state": "STOPPED"})
    on.call("DELETE", "/endpoints/{endpointId}", ids)


def batches_and_evaluation(on: Journey) -> None:
    input_file = on.account.upload_rows([*requests(2), {"custom_id": "bad"}], "batch-api")
    body = {"input_file_id": input_file, "endpoint": "/v1/chat/completions"}
    ids = {"id": on.post("/batches", body)["job"]["id"]}
    on.until("/batches/{id}", ids, lambda job: job["status"] == "COMPLETED")
    on.account.emulator.settings(speed=1)
    on.post("/batches/{id}/cancel", None, {"id": on.post("/batches", body)["job"]["id"]})
    on.account.emulator.settings(speed=3600)
    on.get("/batches")
    on.get("/evaluation/model-list")
    judge = {"model": BASE_MODEL, "model_source": "serverless", "system_template": "Judge {{ answer }} {{ right }}"}
    rows = on.account.upload_rows([{"answer": "a", "right": "a"}], "eval")
    shared = {"judge": judge, "input_data_file_path": rows}
    for kind, parameters in {
        "classify": {"labels": ["good", "bad"], "pass_labels": ["good"], "model_to_evaluate": "answer"},
        "score": {"min_score": 0, "max_score": 1, "pass_threshold": 0.5, "model_to_evaluate": "answer"},
        "compare": {"model_a": "answer", "model_b": "right"},
    }.items():
        job = on.post("/evaluation", {"type": kind, "parameters": shared | parameters})
        ids = {"id": job["workflow_id"]}
        on.until("/evaluation/{id}/status", ids, lambda job: job["status"] == "completed")
        on.get("/evaluation/{id}", ids)
    on.get("/evaluation")


def deployments(on: Journey) -> None:
    on.account.upload(b'{"text": "a"}\n', "fine-tune", "weights/a.jsonl")
    secret = on.post("/deployments/secrets", {"name": "key", "value": "v", "description": "d"})
    on.get("/deployments/secrets")
    on.get("/deployments/secrets/{id}", {"id": secret["id"]})
    on.call("PATCH", "/deployments/secrets/{id}", {"id": "key"}, json={"value": "w"})
    content = {"type": "files", "source_prefix": "weights/"}
    on.post("/deployments/storage/volumes", {"name": "disk", "type": "readOnly", "content": content})
    on.get("/deployments/storage/volumes")
    on.get("/deployments/storage/{filename}", {"filename": "weights/a.jsonl"})
    spec = {
        "name": "app",
        "image": "registry.together.ai/p/app",
        "gpu_type": "h100-80gb",
        "volumes": [{"name": "disk", "mount_path": "/data"}],
        "environment_variables": [{"name": "KEY", "value_from_secret": "key"}, {"name": "MODE", "value": "fast"}],
        "autoscaling": {"metric": "HTTPTotalRequests", "target": 5},
        "port": 80,
    }
    on.post("/deployments", spec)
    on.post("/deployments", {"name": "bare", "image": "docker.io/none", "gpu_type": "h100-80gb"})
    on.until("/deployments/{id}", {"id": "app"}, lambda row: row["status"] == "Ready")
    on.until("/deployments/{id}", {"id": "bare"}, lambda row: row["status"] == "Failed")
    on.call("PATCH", "/deployments/{id}", {"id": "app"}, json={"min_replicas": 2, "max_replicas": 2})
    on.get("/deployments")
    on.get("/deployments/{id}/logs", {"id": "app"})
    on.call("PATCH", "/deployments/storage/volumes/{id}", {"id": "disk"}, json={"content": content})
    on.get("/deployments/storage/volumes/{id}", {"id": "disk"})
    on.call("DELETE", "/deployments/{id}", {"id": "app"})
    on.call("DELETE", "/deployments/storage/volumes/{id}", {"id": "disk"})
    on.call("DELETE", "/deployments/secrets/{id}", {"id": "key"})


def videos(on: Journey) -> None:
    for fail in ({}, {"video": "Too dark"}):
        on.account.emulator.settings(fail=fail)
        video = on.post("/videos", {"model": "minimax/hailuo-02", "prompt": "a", "seconds": "1"})
        on.until("/videos/{id}", {"id": video["id"]}, lambda row: row["status"] != "in_progress")
    on.account.emulator.settings(fail={})


def compute(on: Journey) -> None:
    on.get("/compute/regions")
    volume = {"volume_name": "data", "size_tib": 1, "region": "us-central-8"}
    cluster = on.post(
        "/compute/clusters",
        {
            "region": "us-central-8",
            "gpu_type": "H100_SXM",
            "num_gpus": 8,
            "cluster_name": "c",
            "driver_version": "CUDA_12_8_570",
            "billing_type": "ON_DEMAND",
            "shared_volume": volume,
        },
    )
    ids = {"cluster_id": cluster["cluster_id"]}
    on.until("/compute/clusters/{cluster_id}", ids, lambda row: row["status"] == "Ready")
    on.call("PUT", "/compute/clusters/{cluster_id}", ids, json={"num_gpus": 16})
    on.get("/compute/clusters")
    on.call("DELETE", "/compute/clusters/{cluster_id}", ids)
    free = {"volume_id": on.post("/compute/clusters/storage/volumes", volume)["volume_id"]}
    on.get("/compute/clusters/storage/volumes")
    on.get("/compute/clusters/storage/volumes/{volume_id}", free)
    on.call("PUT", "/compute/clusters/storage/volumes", json=free | {"size_tib": 2})
    on.call("DELETE", "/compute/clusters/storage/volumes/{volume_id}", free)


def code(on: Journey) -> None:
    on.post("/tci/execute", {"language": "python", "code": "print(1)\n1 / 0"})
    on.post("/tci/execute", {"language": "python", "code": "1", "session_id": "ses_none"})
    on.get("/tci/sessions")


def queue(on: Journey) -> None:
    submit = {"model": "m", "payload": {"a": 1}, "info": {"b": 2}, "priority": 1}
    job = on.post("/queue/submit", submit)
    ids = {"request_id": job["requestId"], "model": "m"}
    on.until("/queue/status", {}, lambda row: row["status"] == "done", **ids)
    on.account.emulator.settings(speed=1)
    on.post("/queue/submit", submit)
    on.post("/queue/cancel", {"model": "m", "request_id": on.post("/queue/submit", submit)["requestId"]})
    on.get("/queue/metrics", model="m")
    on.account.emulator.settings(speed=3600)


def reinforcement(on: Journey) -> None:
    session = {"session_id": on.post("/rl/training-sessions", {"base_model": BASE_MODEL})["id"]}
    text = {"chunks": [{"encoded_text": {"tokens": [1, 2]}}]}
    sample = {"model_input": text, "loss_inputs": {"target_tokens": {"data": ["2", 3]}}}
    at = "/rl/training-sessions/{session_id}"
    bodies = {
        "forward-backward": {"samples": [sample], "loss": {"type": "LOSS_TYPE_CROSS_ENTROPY"}},
        "optim-step": {},
        "sample": {"prompts": [text], "sampling_params": {"max_tokens": 3}},
        "inference-checkpoint": {},
        "training-checkpoint": {},
    }
    bad = on.post(f"{at}/operations/sample", {"prompts": [{"chunks": []}]}, session)
    for type, body in [("sample", None), *bodies.items()]:
        operation = bad if body is None else on.post(f"{at}/operations/{type}", body, session)
        ids = session | {"operation_id": operation["id"]}
        on.until(f"{at}/operations/{type}/{{operation_id}}", ids, lambda row: row["status"].endswith("ED"))
    (checkpoint,) = on.get(at, session)["inference_checkpoints"]
    on.get("/rl/checkpoints/{id}/download", {"id": checkpoint["id"]}, variant="CHECKPOINT_VARIANT_ADAPTER")
    on.get("/rl/training-sessions", limit=1)
    on.post(f"{at}/stop", None, session)


STAGES = [
    files,
    fine_tunes,
    inference,
    models_and_endpoints,
    batches_and_evaluation,
    deployments,
    videos,
    compute,
    code,
    queue,
    reinforcement,
]


def test_every_operation_of_the_contract_is_served(journey: Journey) -> None:
    served = set(journey.account.emulator.counts()["requests"])

    assert len(ROWS) == 98
    assert {f"{method} {path}" for method, path in ROWS} - served == set()
    assert journey.opened == SOCKETS


@pytest.mark.parametrize(("method", "path"), OVER_HTTP, ids=lambda value: value)
def test_every_answer_has_the_shape_that_the_contract_gives_it(journey: Journey, method: str, path: str) -> None:
    answers = journey.answers[method, path]

    assert answers
    for answer in answers:
        assert_declared(answer, ROWS[method, path]["answers"], DEPARTURES.get((method, path)))


def assert_declared(answer: httpx2.Response, declared: list[dict[str, Any]], departure: str | None) -> None:
    """The answer has one of the declared statuses, types and shapes."""
    status, media_type = answer.status_code, answer.headers.get("content-type", "").partition(";")[0]
    at_status = [row for row in declared if row["status"] == status]
    assert at_status, f"{status}: {answer.text[:300]}"
    shapes = {row["type"]: row["schema"] for row in at_status if row["type"]}
    if not shapes or not answer.content:
        return
    if media_type == "application/json":
        found = contract.violations(answer.json(), shapes[media_type])
        assert [violation for violation in found if not (departure and re.search(departure, violation))] == []
    elif media_type not in shapes:  # bytes under a more exact name, such as x-tar
        assert media_type.startswith("application/")
        assert BYTES & shapes.keys()
