"""What is particular to GPU clusters and the volumes that they share."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.jobs.specimens import SPECIMENS
from together_flows.errors import ArgumentInvalid
from together_flows.jobs.cluster import KIND as CLUSTER
from together_flows.jobs.cluster import MAX_NAME, marked_name
from together_flows.jobs.model import JobState
from together_flows.jobs.shared_volume import KIND as VOLUME

ROW = SPECIMENS["cluster"].row


@pytest.mark.parametrize(
    ("own", "marked"),
    [
        ("training", "training-tf0"),
        ("training-_. ", "training-tf0"),
        ("---", "tf0"),
        ("x" * 100, "x" * (MAX_NAME - 4) + "-tf0"),
        ("", ""),
        (None, None),
        (7, 7),
    ],
)
def test_a_name_ends_with_the_marker_and_what_is_no_name_is_left_alone(own: Any, marked: Any) -> None:
    assert marked_name(own, "tf0") == marked


@pytest.mark.parametrize(("kind", "argument"), [(CLUSTER, "cluster_name"), (VOLUME, "volume_name")])
def test_a_missing_name_is_refused_by_the_operation(kind: Any, argument: str) -> None:
    spec = {key: value for key, value in SPECIMENS[kind.name].spec.items() if key != argument}
    with pytest.raises(ArgumentInvalid, match=argument):
        kind.create(kind.mark(spec, "tf0"))


def test_a_degraded_cluster_names_its_nodes_up_to_ten() -> None:
    nodes = [{"node_id": f"n{i}", "status": "NotReady"} for i in range(30)]
    control = [{"node_id": "c", "node_name": "control", "status": "Running"}]
    words = CLUSTER.status({**ROW, "status": "Degraded", "control_plane_nodes": control, "gpu_worker_nodes": nodes})
    assert words.message.startswith("Some of its nodes do not work; control is Running; n0 is NotReady")
    assert words.message.count(";") == 10


def test_a_degraded_cluster_without_nodes_is_put_into_words() -> None:
    row = {"cluster_id": "c", "status": "Degraded"}
    assert CLUSTER.status(row).message == "Some of its nodes do not work"


def test_a_manifest_names_the_volumes_and_never_the_access() -> None:
    manifest = CLUSTER.manifest({**ROW, "volumes": [{"volume_id": "v1"}, {"volume_id": "v2"}]})
    assert manifest["volumes"] == ["v1", "v2"]
    assert "kube_config" not in manifest


def test_a_paused_cluster_was_stopped_by_somebody() -> None:
    assert CLUSTER.status({**ROW, "status": "Paused"}).state is JobState.CANCELLED


def test_a_failed_volume_says_its_state() -> None:
    assert VOLUME.status({"volume_id": "v", "status": "access_revoked"}).message.endswith("access_revoked")
