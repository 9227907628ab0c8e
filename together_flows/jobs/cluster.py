"""GPU clusters. They bill until they are deleted, so their end is part of their life.

Of what its creator chooses, the API shows only a cluster's name again, and does not promise that names are unique. So
the marker is the name's end: matched by the bare name, another team's cluster could be adopted, and be deleted later.

A volume that is made together with a cluster is not deleted with it: it holds data.
"""

from __future__ import annotations

from typing import Any

from together_flows.api import compute
from together_flows.jobs.ending import delete_with
from together_flows.jobs.kind import JobKind, carried_in, rows_under
from together_flows.jobs.model import JobState, Row, Spec
from together_flows.jobs.steps import Send

__all__ = ["KIND", "MAX_NAME", "marked_name"]

#: Longest name that is sent, in characters. The API states no limit; Kubernetes takes labels of 63 (RFC 1123).
MAX_NAME = 63


def marked_name(own: Any, marker: str) -> Any:
    """A name that ends with the marker, as much of its own as fits before it. What is no name stays as it is."""
    if not isinstance(own, str) or not own:
        return own  # the operation refuses it, and says why better than this could
    kept = own[: MAX_NAME - len(marker) - 1].rstrip("-_. ")
    return f"{kept}-{marker}" if kept else marker


def _mark(spec: Spec, marker: str) -> Spec:
    return {**spec, "cluster_name": marked_name(spec.get("cluster_name"), marker)}


def _marked(row: Row) -> str:
    return str(row.get("cluster_name") or "")


def _failure(row: Row) -> str:
    nodes = [*(row.get("control_plane_nodes") or ()), *(row.get("gpu_worker_nodes") or ())]
    words = [f"{node.get('node_name') or node.get('node_id')} is {node.get('status')}" for node in nodes]
    return "; ".join(["Some of its nodes do not work", *words[:10]])


def _manifest(row: Row) -> dict[str, Any]:
    """Without the access to the cluster, which is a secret: `compute.retrieve_cluster` tells it."""
    return {
        "id": row["cluster_id"],
        "name": row.get("cluster_name", ""),
        "region": row.get("region", ""),
        "gpu_type": row.get("gpu_type", ""),
        "num_gpus": row.get("num_gpus"),
        "volumes": [volume.get("volume_id") for volume in (row.get("volumes") or ())[:10]],
        "status": row.get("status", ""),
    }


KIND = JobKind(
    secret_fields=("kube_config",),
    name="cluster",
    noun="GPU cluster",
    states={
        "waitingforcontrolplanenodes": JobState.QUEUED,
        "waitingfordataplanenodes": JobState.QUEUED,
        "waitingforsubnet": JobState.QUEUED,
        "waitingforsharedvolume": JobState.QUEUED,
        "installingdrivers": JobState.RUNNING,
        "runningacceptancetests": JobState.RUNNING,
        "deleting": JobState.RUNNING,
        "ready": JobState.SUCCEEDED,
        "degraded": JobState.FAILED,  # it was to have all of its nodes, and does not
        "paused": JobState.CANCELLED,
        "ondemandcomputepaused": JobState.CANCELLED,
    },
    create=lambda spec: Send(compute.create_cluster(**spec)),
    read=compute.retrieve_cluster,
    list_all=compute.list_clusters,
    rows=rows_under("clusters"),
    new_id=lambda answer: str(answer.cluster_id),
    id_of=lambda row: str(row["cluster_id"]),
    failure=_failure,
    mark=_mark,
    marked=_marked,
    carries=carried_in(_marked),
    end=delete_with(compute.delete_cluster),
    bills_until_stopped=True,
    over=(),
    manifest=_manifest,
)
