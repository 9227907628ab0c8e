"""Compute: clusters come up step by step, bill until they are deleted, and share volumes that outlive them."""

from __future__ import annotations

from typing import Any

import pytest

from .account import Account

CLUSTER = {
    "region": "us-central-8",
    "gpu_type": "H100_SXM",
    "num_gpus": 16,
    "cluster_name": "nightly",
    "driver_version": "CUDA_12_6_560",
    "billing_type": "ON_DEMAND",
}
VOLUME = {"volume_name": "data", "size_tib": 2, "region": "us-central-8"}


def create(account: Account, **request: Any) -> dict[str, Any]:
    return dict(account.post("/compute/clusters", CLUSTER | request))


def reach(account: Account, cluster: dict[str, Any], status: str) -> dict[str, Any]:
    return account.until(f"/compute/clusters/{cluster['cluster_id']}", lambda row: row["status"] == status)


def steps(account: Account, kind: str) -> list[str]:
    (job,) = [job for job in account.emulator.jobs() if job["kind"] == kind]
    return [stage["status"] for stage in job["stages"]]


def test_a_cluster_comes_up_in_steps_and_then_gives_access(account: Account) -> None:
    account.emulator.settings(speed=1)
    created = create(account)
    account.emulator.settings(speed=3600)
    row = reach(account, created, "Ready")

    assert created["status"] == "WaitingForControlPlaneNodes"
    assert created["kube_config"] == ""
    assert steps(account, "cluster") == [
        "WaitingForControlPlaneNodes",
        "WaitingForDataPlaneNodes",
        "WaitingForSubnet",
        "InstallingDrivers",
        "RunningAcceptanceTests",
        "Ready",
    ]
    assert "apiVersion: v1" in row["kube_config"]
    assert (row["num_gpus"], row["duration_hours"]) == (16, 0)
    assert sum(node["num_gpus"] for node in row["gpu_worker_nodes"]) == 16
    assert {node["status"] for node in row["gpu_worker_nodes"] + row["control_plane_nodes"]} == {"Running"}
    assert account.get("/compute/clusters")["clusters"] == [row]


@pytest.mark.parametrize(
    "request_",
    [
        {"num_gpus": 12},
        {"num_gpus": 0},
        {"region": "moon-1"},
        {"gpu_type": "B200_SXM"},
        {"driver_version": "CUDA_1"},
        {"billing_type": "RESERVED"},
        {"billing_type": "FREE"},
        {"cluster_name": ""},
        {"cluster_type": "NOMAD"},
        {"shared_volume": {**VOLUME, "region": "us-east-2"}},
        {"shared_volume": {**VOLUME, "size_tib": 0}},
        {"shared_volume": VOLUME, "volume_id": "x"},
    ],
)
def test_a_cluster_out_of_bounds_is_refused_and_nothing_is_made(account: Account, request_: dict[str, Any]) -> None:
    answer = account.http.post("/compute/clusters", json=CLUSTER | request_)
    created = account.emulator.counts()["created"]

    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert (created["cluster"], created["shared_volume"]) == (0, 0)


def test_driver_and_cuda_can_be_named_one_by_one(account: Account) -> None:
    request = {**CLUSTER, "cuda_version": "12.8", "nvidia_driver_version": "570"}
    del request["driver_version"]

    assert account.post("/compute/clusters", request)["driver_version"] == "CUDA_12_8_570"


def test_a_deleted_cluster_is_deleting_and_then_not_found(account: Account) -> None:
    created = create(account)
    reach(account, created, "Ready")
    path = f"/compute/clusters/{created['cluster_id']}"
    account.emulator.settings(speed=1)
    answers = [account.http.delete(path) for _ in range(2)]
    deleting = account.get(path)["status"]
    refused = account.http.put(path, json={"num_gpus": 8})
    running = account.emulator.counts()["running"]["cluster"]
    account.emulator.settings(speed=3600)
    while (gone := account.http.get(path)).status_code == 200:
        assert gone.json()["status"] == "Deleting"

    assert [answer.json() for answer in answers] == [{"cluster_id": created["cluster_id"]}] * 2
    assert (deleting, refused.status_code, running) == ("Deleting", 400, 0)
    assert (gone.status_code, gone.json()["code"]) == (404, 5)
    assert account.get("/compute/clusters") == {"clusters": []}
    assert account.http.delete(path).status_code == 404
    assert account.emulator.counts()["cancelled"]["cluster"] == 1


def test_a_cluster_can_be_made_larger(account: Account) -> None:
    created = create(account)
    reach(account, created, "Ready")
    path = f"/compute/clusters/{created['cluster_id']}"
    account.emulator.settings(speed=1)
    growing = account.http.put(path, json={"num_gpus": 24, "cluster_type": "SLURM"}).json()
    refused = account.http.put(path, json={"num_gpus": 20})
    account.emulator.settings(speed=3600)
    row = reach(account, created, "Ready")

    assert (growing["status"], refused.status_code) == ("WaitingForDataPlaneNodes", 400)
    assert (len(row["gpu_worker_nodes"]), row["cluster_type"]) == (3, "SLURM")


def test_a_reservation_ends_by_itself(account: Account) -> None:
    created = create(account, billing_type="RESERVED", duration_days=1, shared_volume=VOLUME)
    path = f"/compute/clusters/{created['cluster_id']}"
    account.emulator.settings(speed=200_000)
    account.until("/compute/clusters", lambda answer: not answer["clusters"])

    assert created["duration_hours"] == 24
    assert account.http.get(path).status_code == 404
    assert account.emulator.counts()["running"]["cluster"] == 0
    assert account.get("/compute/clusters/storage/volumes")["volumes"][0]["status"] == "available"


def test_a_cluster_can_fail_its_tests(account: Account) -> None:
    account.emulator.settings(fail={"cluster": "A link is slow"})

    assert reach(account, create(account), "Degraded")["kube_config"] == ""


def test_a_volume_is_provisioned_bound_freed_and_deleted(account: Account) -> None:
    account.emulator.settings(speed=1)
    cluster = create(account, shared_volume=VOLUME)
    (volume,) = cluster["volumes"]
    path = f"/compute/clusters/storage/volumes/{volume['volume_id']}"
    account.emulator.settings(speed=3600)
    ready = reach(account, cluster, "Ready")
    held = account.http.delete(path)
    account.http.delete(f"/compute/clusters/{cluster['cluster_id']}")
    account.until(path, lambda row: row["status"] == "available")

    assert (volume["status"], ready["volumes"][0]["status"]) == ("provisioning", "bound")
    assert "WaitingForSharedVolume" in steps(account, "cluster")
    assert held.status_code == 400
    assert account.http.delete(path).json() == {"success": True}
    assert account.http.get(path).status_code == 404


def test_a_volume_is_shared_by_one_cluster_at_a_time(account: Account) -> None:
    volume = account.post("/compute/clusters/storage/volumes", VOLUME)
    account.until(f"/compute/clusters/storage/volumes/{volume['volume_id']}", lambda row: row["status"] == "available")
    first = create(account, volume_id=volume["volume_id"])
    second = account.http.post("/compute/clusters", json={**CLUSTER, "volume_id": volume["volume_id"]})
    missing = account.http.post("/compute/clusters", json={**CLUSTER, "volume_id": "none"})

    assert first["volumes"][0]["status"] == "bound"
    assert (second.status_code, missing.status_code) == (400, 404)


def test_a_volume_can_only_grow(account: Account) -> None:
    volume = account.post("/compute/clusters/storage/volumes", VOLUME)
    sizes = [
        account.http.put("/compute/clusters/storage/volumes", json={"volume_id": volume["volume_id"], "size_tib": size})
        for size in (5, 4)
    ]
    nameless = account.http.put("/compute/clusters/storage/volumes", json={"size_tib": 9})

    assert (sizes[0].json()["size_tib"], sizes[1].status_code, nameless.status_code) == (5, 400, 400)
    assert account.get("/compute/clusters/storage/volumes")["volumes"][0]["size_tib"] == 5


def test_regions_say_what_can_be_had_there(account: Account) -> None:
    regions = {region["name"]: region for region in account.get("/compute/regions")["regions"]}

    assert "H100_SXM" in regions["us-central-8"]["supported_instance_types"]
    assert {"cuda_driver_version", "nvidia_driver_version"} <= set(regions["eu-west-1"]["driver_versions"][0])
