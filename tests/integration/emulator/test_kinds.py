"""What all kinds of work have in common: they are counted, shown, made to fail, and outlive the process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from together_flows.emulator import Emulator

from .account import BASE_MODEL, Account

CLUSTER = {
    "region": "us-central-8",
    "gpu_type": "H100_SXM",
    "num_gpus": 8,
    "cluster_name": "c",
    "driver_version": "CUDA_12_8_570",
    "billing_type": "ON_DEMAND",
}


def deployment(account: Account) -> str:
    body = {"name": "app", "image": "registry.together.ai/p/app", "gpu_type": "h100-80gb"}
    return f"/deployments/{account.post('/deployments', body)['id']}"


def cluster(account: Account) -> str:
    return f"/compute/clusters/{account.post('/compute/clusters', CLUSTER)['cluster_id']}"


def shared_volume(account: Account) -> str:
    body = {"volume_name": "v", "size_tib": 1, "region": "us-central-8"}
    volume = account.post("/compute/clusters/storage/volumes", body)
    return f"/compute/clusters/storage/volumes/{volume['volume_id']}"


def video(account: Account) -> str:
    body = {"model": "minimax/hailuo-02", "prompt": "a", "seconds": "1", "width": 64, "height": 64}
    return f"/videos/{account.post('/videos', body)['id']}"


def queue(account: Account) -> str:
    job = account.post("/queue/submit", {"model": "m", "payload": {}})
    return f"/queue/status?model=m&request_id={job['requestId']}"


def rl_session(account: Account) -> str:
    return f"/rl/training-sessions/{account.post('/rl/training-sessions', {'base_model': BASE_MODEL})['id']}"


def rl_operation(account: Account) -> str:
    path = f"{rl_session(account)}/operations/optim-step"
    return f"{path}/{account.post(path, {})['id']}"


WORK: dict[str, tuple[Callable[[Account], str], str]] = {
    "deployment": (deployment, "Ready"),
    "cluster": (cluster, "Ready"),
    "shared_volume": (shared_volume, "available"),
    "video": (video, "completed"),
    "queue": (queue, "done"),
    "rl_session": (rl_session, "TRAINING_SESSION_STATUS_RUNNING"),
    "rl_operation": (rl_operation, "TRAINING_OPERATION_STATUS_COMPLETED"),
}

FAILURES = {
    "deployment": "Failed",
    "cluster": "Degraded",
    "shared_volume": "failed",
    "video": "failed",
    "queue": "failed",
    "rl_session": "TRAINING_SESSION_STATUS_ERROR",
    "rl_operation": "TRAINING_OPERATION_STATUS_FAILED",
}

each = pytest.mark.parametrize("kind", WORK)


def reads(status: str) -> Callable[[dict[str, Any]], bool]:
    return lambda row: row["status"] == status


@each
def test_a_creation_is_counted_and_runs(account: Account, kind: str) -> None:
    account.emulator.settings(speed=1)
    create, _ = WORK[kind]
    create(account)
    counts = account.emulator.counts()

    assert (counts["created"][kind], counts["running"][kind], counts["cancelled"][kind]) == (1, 1, 0)
    shown = [job for job in account.emulator.jobs() if job["kind"] == kind]
    assert len(shown) == 1


@each
def test_it_goes_its_way_to_the_end(account: Account, kind: str) -> None:
    create, end = WORK[kind]

    assert account.until(create(account), reads(end))


@each
def test_it_can_be_forced_into_any_status(account: Account, kind: str) -> None:
    account.emulator.settings(speed=1)
    create, _ = WORK[kind]
    path = create(account)
    (job,) = [job for job in account.emulator.jobs() if job["kind"] == kind]
    account.emulator.force(kind, job["id"], "ODD_ONE", "Because")

    assert account.get(path)["status"] == "ODD_ONE"
    assert account.emulator.counts()["running"][kind] == 0


@each
def test_new_ones_can_be_made_to_fail(account: Account, kind: str) -> None:
    account.emulator.settings(fail={kind: "Because"})
    create, _ = WORK[kind]

    assert account.until(create(account), reads(FAILURES[kind]))


@each
def test_it_outlives_the_process_and_goes_on(tmp_path: Path, kind: str) -> None:
    create, end = WORK[kind]
    with Emulator(speed=60, data=tmp_path) as emulator:
        account = Account(emulator)
        path = create(account)
        account.close()
    with Emulator(speed=3600, data=tmp_path) as emulator:
        account = Account(emulator)
        counts = emulator.counts()
        account.until(path, reads(end))
        account.close()

    assert counts["created"][kind] == 1


def test_a_fault_alters_each_row_of_every_list(account: Account) -> None:
    for create in (deployment, cluster, rl_session):
        create(account)
    lists = {"/deployments": "data", "/compute/clusters": "clusters", "/rl/training-sessions": "data"}
    for path in lists:
        account.emulator.fault(method="GET", path=path, replace={"status": "UNHEARD_OF"})

    assert {row["status"] for path, key in lists.items() for row in account.get(path)[key]} == {"UNHEARD_OF"}


def test_a_lost_answer_leaves_a_deployment_that_is_found_by_its_name(account: Account) -> None:
    account.emulator.fault(method="POST", path="/deployments", drop="after")
    with pytest.raises(httpx2.TransportError):
        deployment(account)

    assert account.get("/deployments/app")["name"] == "app"
    assert account.emulator.counts()["created"]["deployment"] == 1
