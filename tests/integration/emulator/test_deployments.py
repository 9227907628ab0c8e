"""Deployments: they roll out, scale, fail and go; secrets stay secret, volumes have versions, files can be fetched."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from .account import Account

SPEC = {"name": "sprocket", "image": "registry.together.ai/p/app:1", "gpu_type": "h100-80gb", "port": 8080}


def deploy(account: Account, **request: Any) -> dict[str, Any]:
    return dict(account.post("/deployments", SPEC | request))


def patch(account: Account, path: str, **request: Any) -> dict[str, Any]:
    return dict(account.http.patch(path, json=request).raise_for_status().json())


def ready(account: Account, name: str = "sprocket") -> dict[str, Any]:
    return account.until(f"/deployments/{name}", lambda row: row["status"] == "Ready")


def test_a_deployment_rolls_out_and_its_replicas_tell_how(account: Account) -> None:
    account.emulator.settings(speed=1)
    created = deploy(account, min_replicas=2, max_replicas=4, command=["python"], args=["app.py"])
    account.emulator.settings(speed=3600)
    row = ready(account)
    waiting, running = created["replica_events"], row["replica_events"]

    assert (created["status"], created["ready_replicas"], created["desired_replicas"]) == ("Updating", 0, 2)
    assert (row["ready_replicas"], row["desired_replicas"], row["max_replicas"]) == (2, 2, 4)
    assert set(waiting) == set(running)
    assert {event["replica_status_reason"] for event in waiting.values()} == {"ContainerCreating"}
    assert {event["replica_status"] for event in running.values()} == {"Running"}
    assert all(event["replica_ready_since"] for event in running.values())
    assert row["command"] + row["args"] == ["python", "app.py"]


def test_a_deployment_is_found_by_id_and_by_name_and_in_the_list(account: Account) -> None:
    created = deploy(account)
    (row,) = account.get("/deployments")["data"]

    assert account.get(f"/deployments/{created['id']}")["name"] == "sprocket"
    assert account.get("/deployments/sprocket")["id"] == created["id"] == row["id"]
    assert account.get("/deployments")["object"] == "list"


def test_a_name_is_taken_once(account: Account) -> None:
    deploy(account)
    again = account.http.post("/deployments", json=SPEC)
    deploy(account, name="other")
    renamed = account.http.patch("/deployments/other", json={"name": "sprocket"})

    assert (again.status_code, renamed.status_code) == (400, 400)
    assert again.json() == {"message": "The name 'sprocket' is taken."}
    assert account.emulator.counts()["created"]["deployment"] == 2


def test_more_replicas_are_scaled_while_the_others_go_on(account: Account) -> None:
    deploy(account)
    ready(account)
    account.emulator.settings(speed=1)
    scaling = patch(account, "/deployments/sprocket", min_replicas=3, max_replicas=3)
    account.emulator.settings(speed=3600)

    assert (scaling["status"], scaling["ready_replicas"], scaling["desired_replicas"]) == ("Scaling", 1, 3)
    assert ready(account)["ready_replicas"] == 3


def test_another_image_makes_a_new_revision_and_another_description_does_not(account: Account) -> None:
    first = deploy(account)
    ready(account)
    account.emulator.settings(speed=1)
    described = patch(account, "/deployments/sprocket", description="of no weight")
    updated = patch(account, "/deployments/sprocket", image="registry.together.ai/p/app:2", name="renamed")
    revisions = [{event["revision_id"] for event in row["replica_events"].values()} for row in (first, updated)]

    assert (described["status"], updated["status"], updated["ready_replicas"]) == ("Ready", "Updating", 1)
    assert revisions == [{"1"}, {"2"}]
    assert account.get("/deployments/renamed")["image"].endswith("app:2")
    assert account.http.get("/deployments/sprocket").status_code == 404


def test_an_image_from_elsewhere_cannot_be_pulled_until_it_is_changed(account: Account) -> None:
    deploy(account, image="docker.io/library/nginx")
    failed = account.until("/deployments/sprocket", lambda row: row["status"] == "Failed")
    (event,) = failed["replica_events"].values()
    log = account.get("/deployments/sprocket/logs")["lines"]
    patch(account, "/deployments/sprocket", image="registry.together.ai/p/nginx")

    assert event["replica_status_reason"] == "ErrImagePull"
    assert "docker.io/library/nginx" in event["replica_status_message"]
    assert "Failed to pull" in log[-1]
    assert ready(account)["ready_replicas"] == 1


def test_logs_grow_and_can_be_had_of_one_replica(account: Account) -> None:
    account.emulator.settings(speed=1)
    created = deploy(account, min_replicas=2, max_replicas=2)
    early = account.get("/deployments/sprocket/logs")["lines"]
    account.emulator.settings(speed=3600)
    ready(account)
    replica = next(iter(created["replica_events"]))
    every = account.get("/deployments/sprocket/logs")["lines"]
    one = account.get("/deployments/sprocket/logs", replica_id=replica)["lines"]

    assert len(early) == 2
    assert any("Listening on port 8080" in line for line in every)
    assert len(every) == 2 * len(one)
    assert all(replica in line for line in one)
    assert account.get("/deployments/sprocket/logs", replica_id="none")["lines"] == []


def test_replicas_follow_the_backlog_of_the_queue(account: Account) -> None:
    account.emulator.settings(speed=1)
    deploy(account, max_replicas=4, autoscaling={"metric": "QueueBacklogPerWorker", "target": 2})
    counts = []
    for _ in range(5):
        account.post("/queue/submit", {"model": "sprocket", "payload": {}})
        account.post("/queue/submit", {"model": "sprocket", "payload": {}})
        counts.append(account.get("/deployments/sprocket")["desired_replicas"])
    off = patch(account, "/deployments/sprocket", autoscaling={})

    assert counts == [1, 2, 3, 4, 4]
    assert "autoscaling" not in off
    assert off["desired_replicas"] == 1


def test_a_deleted_deployment_is_gone_and_counted(account: Account) -> None:
    deploy(account)
    running = account.emulator.counts()["running"]["deployment"]
    deleted = account.http.delete("/deployments/sprocket")

    assert running == 1
    assert (deleted.status_code, deleted.json()) == (200, {})
    assert account.http.get("/deployments/sprocket").json() == {"message": "Deployment not found: sprocket"}
    assert account.http.delete("/deployments/sprocket").status_code == 404
    counts = account.emulator.counts()
    assert (counts["running"]["deployment"], counts["cancelled"]["deployment"]) == (0, 1)


def test_a_deployment_can_be_forced_to_fail(account: Account) -> None:
    created = deploy(account)
    account.emulator.force("deployment", created["id"], "Failed", "Out of memory")
    row = account.get("/deployments/sprocket")

    assert row["status"] == "Failed"
    assert [event["replica_status_message"] for event in row["replica_events"].values()] == ["Out of memory"]
    assert account.emulator.counts()["running"]["deployment"] == 0


@pytest.mark.parametrize(
    "request_",
    [
        {"name": "no spaces"},
        {"name": "x" * 101},
        {"gpu_type": "abacus"},
        {"port": 70_000},
        {"cpu": 0.01},
        {"memory": 1001},
        {"storage": 401},
        {"min_replicas": 3, "max_replicas": 2},
        {"environment_variables": [{"name": "1st", "value": "x"}]},
        {"environment_variables": [{"name": "BOTH", "value": "x", "value_from_secret": "y"}]},
        {"environment_variables": [{"name": "NONE"}]},
        {"environment_variables": [{"name": "KEY", "value_from_secret": "missing"}]},
        {"volumes": [{"name": "missing", "mount_path": "/data"}]},
        {"autoscaling": {"metric": "Moon"}},
        {"autoscaling": {"metric": "CustomMetric"}},
        {"autoscaling": {"metric": "HTTPTotalRequests", "target": 0}},
        {"image": None},
    ],
)
def test_a_deployment_out_of_bounds_is_refused(account: Account, request_: dict[str, Any]) -> None:
    answer = account.http.post("/deployments", json=SPEC | request_)

    assert answer.status_code == 400
    assert set(answer.json()) == {"message"}
    assert account.emulator.counts()["created"]["deployment"] == 0


VALUE = "sk-do-not-show"


def test_a_secret_never_shows_its_value(account: Account) -> None:
    name = "prod/api.key"
    created = account.post("/deployments/secrets", {"name": name, "value": VALUE, "description": "d"})
    updated = account.http.patch(f"/deployments/secrets/{created['id']}", json={"value": VALUE + "2"})
    variables = [{"name": "KEY", "value_from_secret": name}]
    everything = [
        created,
        updated.json(),
        account.get(f"/deployments/secrets/{name}"),
        account.get("/deployments/secrets"),
        deploy(account, environment_variables=variables),
        account.emulator.jobs(),
    ]

    assert VALUE not in json.dumps(everything)
    assert account.get("/deployments/sprocket")["environment_variables"] == variables
    assert updated.json()["updated_at"] >= created["updated_at"]


def test_secrets_are_found_by_id_or_by_a_name_with_slashes_renamed_and_forgotten(account: Account) -> None:
    created = account.post("/deployments/secrets", {"name": "a/b", "value": VALUE})
    quoted = account.http.get("/deployments/secrets/a%2Fb").json()
    renamed = account.http.patch(f"/deployments/secrets/{created['id']}", json={"name": "c"}).json()

    assert quoted["id"] == created["id"]
    assert renamed["name"] == "c"
    assert account.http.delete("/deployments/secrets/c").json() == {}
    assert account.get("/deployments/secrets") == {"object": "list", "data": []}
    assert account.http.get("/deployments/secrets/c").status_code == 404


@pytest.mark.parametrize("body", [{"name": "a b", "value": "x"}, {"name": "a", "value": ""}, {"name": "a"}])
def test_a_secret_out_of_bounds_is_refused(account: Account, body: dict[str, str]) -> None:
    assert account.http.post("/deployments/secrets", json=body).status_code == 400


def volume(account: Account, name: str = "weights", prefix: str = "models/") -> dict[str, Any]:
    body = {"name": name, "type": "readOnly", "content": {"type": "files", "source_prefix": prefix}}
    return dict(account.post("/deployments/storage/volumes", body))


def test_a_volume_shows_the_files_under_its_prefix_and_keeps_its_versions(account: Account) -> None:
    account.upload(b'{"text": "a"}\n', "fine-tune", "models/a.jsonl")
    account.upload(b'{"text": "b"}\n', "fine-tune", "other/b.jsonl")
    first = volume(account)
    second = patch(
        account, "/deployments/storage/volumes/weights", content={"type": "files", "source_prefix": "other/"}
    )

    assert [file["name"] for file in first["content"]["files"]] == ["models/a.jsonl"]
    assert first["content"]["files"][0]["size"] == 14
    assert (first["current_version"], second["current_version"]) == (1, 2)
    assert first["version_history"] == {}
    assert [file["name"] for file in second["content"]["files"]] == ["other/b.jsonl"]
    assert second["version_history"]["1"]["content"]["source_prefix"] == "models/"
    assert account.get("/deployments/storage/volumes")["data"][0]["id"] == first["id"]


def test_a_mount_keeps_its_version_and_holds_its_volume(account: Account) -> None:
    volume(account)
    created = deploy(account, volumes=[{"name": "weights", "mount_path": "/data"}])
    patch(account, "/deployments/storage/volumes/weights", content={"type": "files", "source_prefix": "new/"})
    kept = patch(account, "/deployments/sprocket", volumes=[{"name": "weights", "mount_path": "/other"}])
    shown = account.get("/deployments/storage/volumes/weights")
    refused = account.http.delete("/deployments/storage/volumes/weights")
    moved = patch(account, "/deployments/sprocket", volumes=[{"name": "weights", "mount_path": "/other", "version": 2}])

    assert kept["volumes"] == [{"name": "weights", "mount_path": "/other", "version": 1}]
    assert (shown["mounted_by"], shown["version_history"]["1"]["mounted_by"]) == ([], [created["id"]])
    assert refused.status_code == 400
    assert moved["volumes"][0]["version"] == 2
    assert account.get("/deployments/storage/volumes/weights")["mounted_by"] == [created["id"]]


def test_an_unmounted_volume_can_be_deleted(account: Account) -> None:
    volume(account)

    assert account.http.delete("/deployments/storage/volumes/weights").json() == {}
    assert account.http.get("/deployments/storage/volumes/weights").status_code == 404


def test_a_volume_that_cannot_be_is_refused(account: Account) -> None:
    volume(account)
    content = {"type": "files", "source_prefix": ""}
    bodies = [
        {"name": "weights", "type": "readOnly", "content": content},
        {"name": "other", "type": "readWrite", "content": content},
        {"name": "other", "type": "readOnly", "content": {"type": "image"}},
        {"name": "", "type": "readOnly", "content": content},
    ]

    assert [account.http.post("/deployments/storage/volumes", json=body).status_code for body in bodies] == [400] * 4


def test_a_file_of_the_storage_lies_behind_a_redirect_that_wants_no_key(account: Account) -> None:
    account.upload(b'{"text": "deep"}\n', "fine-tune", "models/deep.jsonl")
    direct = account.http.get("/deployments/storage/models%2Fdeep.jsonl")
    fetched = account.bare.get(direct.headers["location"])
    followed = httpx2.get(
        f"{account.emulator.url}/deployments/storage/models/deep.jsonl",
        headers={"Authorization": f"Bearer {account.emulator.api_key}"},
        follow_redirects=True,
        trust_env=False,
    )

    assert direct.status_code == 307
    assert fetched.content == followed.content == b'{"text": "deep"}\n'
    assert account.http.get("/deployments/storage/none.bin").status_code == 404
