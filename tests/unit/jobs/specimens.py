"""One specimen of each kind: what submits it, what the API shows of it, and which statuses it can have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]

#: Stands wherever a row or a specification can hold a secret.
SECRET = "s3cr3t-canary"
#: Stands wherever a row can hold what a job, a model or a container wrote.
FLOOD = "word " * 40_000

_BATCH_LINE = '{"custom_id": "a", "body": {"model": "m", "messages": [{"role": "user", "content": "x"}]}}\n'


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """One kind, by example.

    Attributes:
        spec: what submits a job; paths are relative to a folder that `place` fills.
        row: a final job as the API shows it, with everything that could make its manifest large or secret.
        secrets: where in the specification a secret may stand: keys and indices on the way to it.
        going: raw statuses that the API documents for a job that is not final.
        good: documented statuses of a job that has become what it was to be.
        bad: documented statuses of a job that has not.
        halted: documented statuses of a job that somebody stopped.
        findable: whether a job whose creation's answer was lost can be found again, or needs no finding.
    """

    spec: Json
    row: Json
    going: tuple[str, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...]
    halted: tuple[str, ...] = ()
    secrets: tuple[tuple[str | int, ...], ...] = ()
    status_key: str = "status"
    files: Mapping[str, str] = field(default_factory=dict)
    findable: bool = True

    def place(self, folder: Path) -> Json:
        """The specification, with its files in a folder."""
        for name, content in self.files.items():
            (folder / name).write_text(content)
        places = {key: str(folder / value) for key, value in self.spec.items() if key in ("path", "input_path")}
        return {**self.spec, **places}

    def with_status(self, raw: str) -> Json:
        """The row in another status."""
        return {**self.row, self.status_key: raw}


_JUDGE = {"model": "judge", "model_source": "serverless", "system_template": "Score {{x}}."}
_EVALUATED = {
    "model": "m",
    "model_source": "serverless",
    "system_template": "s",
    "input_template": "{{x}}",
    "max_tokens": 8,
    "temperature": 0.0,
}
_SCORE = {"judge": _JUDGE, "min_score": 0, "max_score": 10, "pass_threshold": 5, "model_to_evaluate": _EVALUATED}
_NODE = {"node_id": "n", "node_name": "node", "status": "NotReady"}
_SESSION = "TRAINING_SESSION_STATUS_"
_OPERATION = "TRAINING_OPERATION_STATUS_"

SPECIMENS: Mapping[str, Specimen] = {
    "file": Specimen(
        spec={"path": "rows.jsonl", "purpose": "fine-tune"},
        files={"rows.jsonl": '{"text": "x"}\n'},
        row={
            "id": "file-1",
            "filename": "rows.jsonl",
            "bytes": 14,
            "purpose": "fine-tune",
            "validation_report": {"nlines": 1, "error": FLOOD},
            "processing_status": "COMPLETED",
        },
        status_key="processing_status",
        going=("PENDING", "QUEUED", "RUNNING"),
        good=("COMPLETED",),
        bad=("FAILED", "INVALID_FORMAT"),
    ),
    "fine_tune": Specimen(
        spec={"training_file": "file-1", "model": "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", "n_epochs": 1},
        row={
            "id": "ft-1",
            "status": "completed",
            "model": "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference",
            "model_output_name": "me/llama-tuned",
            "training_file": "file-1",
            "n_epochs": 1,
            "token_count": 1_000,
            "total_price": 5_000_000_000,
            "wandb_api_key": SECRET,
            "wandb_key": SECRET,
            "events": [{"type": "job_error", "message": FLOOD}],
        },
        secrets=(("wandb_api_key",), ("hf_api_token",)),
        going=("pending", "queued", "running", "compressing", "uploading", "cancel_requested"),
        good=("completed",),
        bad=("error", "user_error"),
        halted=("cancelled",),
    ),
    "batch": Specimen(
        spec={"input_path": "rows.jsonl", "endpoint": "/v1/chat/completions"},
        files={"rows.jsonl": _BATCH_LINE},
        row={
            "id": "batch-1",
            "status": "COMPLETED",
            "input_file_id": "file-1",
            "output_file_id": "file-2",
            "error_file_id": "",
            "progress": 100.0,
            "error": FLOOD,
        },
        going=("VALIDATING", "IN_PROGRESS", "CANCELING"),
        good=("COMPLETED",),
        bad=("FAILED", "EXPIRED"),
        halted=("CANCELLED",),
    ),
    "evaluation": Specimen(
        spec={"type": "score", "parameters": {**_SCORE, "input_data_file_path": "file-1"}},
        row={
            "workflow_id": "eval-1",
            "type": "score",
            "status": "completed",
            "parameters": {"judge": {**_JUDGE, "external_api_token": SECRET}},
            "results": {
                "aggregated_scores": {"mean_score": 7.5},
                "result_file_id": "file-2",
                "label_counts": FLOOD,
            },
        },
        secrets=(
            ("parameters", "judge", "external_api_token"),
            ("parameters", "model_to_evaluate", "external_api_token"),
        ),
        going=("pending", "queued", "running"),
        good=("completed",),
        bad=("error", "user_error"),
    ),
    "endpoint": Specimen(
        spec={"model": "m", "hardware": "1x", "autoscaling": {"min_replicas": 1, "max_replicas": 1}},
        row={
            "id": "endpoint-1",
            "name": "me/m-12345678",
            "model": "m",
            "hardware": "1x",
            "display_name": "tf0123456789",
            "state": "STARTED",
        },
        status_key="state",
        going=("PENDING", "STARTING", "STOPPING"),
        good=("STARTED",),
        bad=("ERROR", "FAILED"),
        halted=("STOPPED",),
    ),
    "model_upload": Specimen(
        spec={"model_name": "mine", "model_source": f"https://bucket.s3.example/a.zip?X-Amz-Signature={SECRET}"},
        row={
            "job_id": "job-1",
            "type": "model_upload",
            "status": "Complete",
            "args": {
                "modelName": "me/mine",
                "modelSource": f"https://bucket.s3.example/a.zip?X-Amz-Signature={SECRET}",
                "hfToken": SECRET,
            },
            "status_updates": [{"status": "Complete", "message": FLOOD}],
        },
        secrets=(("hf_token",),),
        going=("Queued", "Running"),
        good=("Complete",),
        bad=("Failed",),
    ),
    "deployment": Specimen(
        spec={
            "name": "detector",
            "image": "registry.example/me/detector:1",
            "gpu_type": "h100-80gb",
            "environment_variables": [{"name": "TOKEN", "value_from_secret": "token"}],
        },
        row={
            "id": "deployment-1",
            "name": "detector",
            "image": "registry.example/me/detector:1",
            "gpu_type": "h100-80gb",
            "gpu_count": 1,
            "status": "Ready",
            "environment_variables": [{"name": "TOKEN", "value": SECRET}],
            "replica_events": {f"r{i}": {"replica_status_message": FLOOD} for i in range(3)},
        },
        going=("Updating", "Scaling"),
        good=("Ready", "ScaledToZero"),
        bad=("Failed",),
    ),
    "cluster": Specimen(
        spec={
            "cluster_name": "training",
            "region": "us-central-8",
            "gpu_type": "H100_SXM",
            "num_gpus": 8,
            "billing_type": "ON_DEMAND",
            "driver_version": "CUDA_12_6_560",
        },
        row={
            "cluster_id": "cluster-1",
            "cluster_name": "training-tf0123456789",
            "status": "Ready",
            "region": "us-central-8",
            "gpu_type": "H100_SXM",
            "num_gpus": 512,
            "kube_config": SECRET,
            "volumes": [{"volume_id": f"volume-{i:032}", "status": "bound"} for i in range(200)],
            "gpu_worker_nodes": [_NODE] * 64,
        },
        going=(
            "WaitingForControlPlaneNodes",
            "WaitingForDataPlaneNodes",
            "WaitingForSubnet",
            "WaitingForSharedVolume",
            "InstallingDrivers",
            "RunningAcceptanceTests",
            "Deleting",
        ),
        good=("Ready",),
        bad=("Degraded",),
        halted=("Paused", "OnDemandComputePaused"),
    ),
    "shared_volume": Specimen(
        spec={"volume_name": "data", "size_tib": 1, "region": "us-central-8"},
        row={"volume_id": "volume-1", "volume_name": "data-tf0123456789", "size_tib": 1, "status": "available"},
        going=("provisioning", "scheduled", "deleting"),
        good=("available", "bound"),
        bad=("failed", "access_revoked", "unknown"),
    ),
    "video": Specimen(
        spec={"model": "maker", "prompt": "a red bus"},
        row={
            "id": "video-1",
            "status": "completed",
            "model": "maker",
            "seconds": "5",
            "size": "720p",
            "outputs": {"cost": 0.5, "video_url": "https://videos.example/1.mp4"},
            "error": {"code": "x", "message": FLOOD},
        },
        going=("in_progress",),
        good=("completed",),
        bad=("failed",),
        findable=False,
    ),
    "queue": Specimen(
        spec={"model": "me/de:tector", "payload": {"image": "a"}},
        row={
            "request_id": "req/1",
            "model": "me/de:tector",
            "status": "done",
            "inputs": {"image": FLOOD},
            "outputs": {"label": "bus", "mask": FLOOD},
            "info": {"note": FLOOD},
            "retries": 0,
        },
        going=("pending", "running"),
        good=("done",),
        bad=("failed",),
        halted=("canceled",),
        findable=False,
    ),
    "rl_session": Specimen(
        spec={"base_model": "m", "lora_config": {"rank": 8}},
        row={
            "id": "session-1",
            "status": f"{_SESSION}RUNNING",
            "base_model": "m",
            "step": "12",
            "inference_checkpoints": [{"id": f"checkpoint-{i:032}", "step": str(i)} for i in range(500)],
            "training_checkpoints": [{"id": f"checkpoint-{i:032}", "step": str(i)} for i in range(500)],
        },
        going=(f"{_SESSION}CREATING", f"{_SESSION}STOPPING"),
        good=(f"{_SESSION}RUNNING",),
        bad=(f"{_SESSION}ERROR", f"{_SESSION}EXPIRED"),
        halted=(f"{_SESSION}STOPPED",),
        findable=False,
    ),
    "rl_operation": Specimen(
        spec={"session_id": "session/1", "operation": "optim_step", "learning_rate": 1e-4},
        row={
            "id": "operation-1",
            "status": f"{_OPERATION}COMPLETED",
            "output": {"loss": 1.5, "metrics": {"tokens": 7}, "rollouts": FLOOD},
        },
        going=(f"{_OPERATION}PENDING", f"{_OPERATION}RUNNING"),
        good=(f"{_OPERATION}COMPLETED",),
        bad=(f"{_OPERATION}FAILED",),
    ),
}
