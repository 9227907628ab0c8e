"""How the API presents each kind of job: the calls that make, read, list and end it, and the shape of its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


def _as_it_is(value: Json) -> Json:
    return value


@dataclass(frozen=True, kw_only=True)
class Surface:
    """One kind of job, seen from outside.

    Attributes:
        create: names of the operations that create it.
        read: names of the operations that read one.
        list: name of the operation that lists them, where there is one.
        end: names of the operations that end it.
        begins: its status from the creation until something happens to it.
        ends: its status after it was ended; `None` where it is gone then.
        id_key: under which key a row has the id.
        status_key: under which key a row has the status.
        shown: what of a request's body a row repeats, and where.
        listed: the answer to the list operation, out of the rows.
        born: the answer to the creation, out of the row.
        hidden: keys that rows of the list do not have.
        unique: the argument that no two jobs may have alike.
    """

    create: tuple[str, ...]
    read: tuple[str, ...]
    begins: str
    list: str = ""
    end: tuple[str, ...] = ()
    ends: str | None = None
    id_key: str = "id"
    status_key: str = "status"
    shown: Callable[[Json], Json] = _as_it_is
    listed: Callable[[list[Json]], Any] = lambda rows: {"data": rows}
    born: Callable[[Json], Json] = _as_it_is
    hidden: tuple[str, ...] = ()
    unique: str = ""


_RL = "TRAINING_OPERATION_STATUS_"

SURFACES: Mapping[str, Surface] = {
    "fine_tune": Surface(
        create=("fine_tunes.create",),
        read=("fine_tunes.retrieve",),
        list="fine_tunes.list",
        end=("fine_tunes.cancel",),
        begins="running",
        ends="cancelled",
    ),
    "batch": Surface(
        create=("batches.create",),
        read=("batches.retrieve",),
        list="batches.list",
        end=("batches.cancel",),
        begins="IN_PROGRESS",
        ends="CANCELLED",
        listed=lambda rows: rows,
        born=lambda row: {"job": row},
    ),
    "evaluation": Surface(
        create=("evaluation.create",),
        read=("evaluation.retrieve",),
        list="evaluation.list",
        begins="running",
        id_key="workflow_id",
        listed=lambda rows: rows,
    ),
    "endpoint": Surface(
        create=("endpoints.create",),
        read=("endpoints.retrieve",),
        list="endpoints.list",
        end=("endpoints.update", "endpoints.delete"),
        begins="STARTED",
        status_key="state",
        hidden=("display_name",),
    ),
    "model_upload": Surface(
        create=("models.upload",),
        read=("jobs.retrieve",),
        list="jobs.list",
        begins="Running",
        id_key="job_id",
        shown=lambda body: {
            "args": {
                "description": body.get("description"),
                "modelName": body["model_name"],
                "modelSource": body["model_source"],
            }
        },
        born=lambda row: {"data": {"job_id": row["job_id"], "model_name": row["args"]["modelName"]}, "message": "ok"},
    ),
    "deployment": Surface(
        create=("deployments.create",),
        read=("deployments.retrieve",),
        list="deployments.list",
        end=("deployments.delete",),
        begins="Ready",
        unique="name",
    ),
    "cluster": Surface(
        create=("compute.create_cluster",),
        read=("compute.retrieve_cluster",),
        list="compute.list_clusters",
        end=("compute.delete_cluster",),
        begins="Ready",
        id_key="cluster_id",
        listed=lambda rows: {"clusters": rows},
    ),
    "shared_volume": Surface(
        create=("compute.create_volume",),
        read=("compute.retrieve_volume",),
        list="compute.list_volumes",
        end=("compute.delete_volume",),
        begins="provisioning",
        id_key="volume_id",
        listed=lambda rows: {"volumes": rows},
    ),
    "video": Surface(create=("videos.create",), read=("videos.retrieve",), begins="in_progress"),
    "queue": Surface(
        create=("queue.submit",),
        read=("queue.status",),
        end=("queue.cancel",),
        begins="pending",
        ends="canceled",
        id_key="request_id",
        born=lambda row: {"requestId": row["request_id"]},
    ),
    "rl_session": Surface(
        create=("rl.create_session",),
        read=("rl.retrieve_session",),
        list="rl.list_sessions",
        end=("rl.stop_session",),
        begins="TRAINING_SESSION_STATUS_RUNNING",
        ends="TRAINING_SESSION_STATUS_STOPPED",
    ),
    "rl_operation": Surface(
        create=(
            "rl.forward_backward",
            "rl.optim_step",
            "rl.sample",
            "rl.create_inference_checkpoint",
            "rl.create_training_checkpoint",
        ),
        read=(
            "rl.retrieve_forward_backward",
            "rl.retrieve_optim_step",
            "rl.retrieve_sample",
            "rl.retrieve_inference_checkpoint",
            "rl.retrieve_training_checkpoint",
        ),
        begins=f"{_RL}RUNNING",
        shown=lambda body: {},
    ),
}


def surface_of(operation: str) -> tuple[str, Surface]:
    """The kind of job that an operation is about."""
    for kind, surface in SURFACES.items():
        if operation in (*surface.create, *surface.read, surface.list, *surface.end):
            return kind, surface
    raise AssertionError(f"the world has no {operation}")
