"""Deployments, clusters, volumes, videos, queues and reinforcement learning, inside real flow runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from pydantic import SecretStr

import together_flows.prefect as tp
from tests.integration.prefect.conftest import BLOCK, MODEL, created, running
from together_flows import Together
from together_flows.api import deployments, rl
from together_flows.emulator import Emulator
from together_flows.errors import JobFailed
from together_flows.jobs import KINDS, kind_named
from together_flows.prefect.blocks import TogetherJobBlock

QUICK: dict[str, Any] = {"poll_interval": 0.2}
PROMPTS = [{"chunks": [{"encoded_text": {"tokens": [1, 2, 3]}}]}]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of job.

    Attributes:
        whole: the task that submits and waits.
        submit: the task that only submits.
        block: its block.
        arguments: of all three.
        tells_why: whether the API says why one failed.
        around: the context manager of what bills.
    """

    whole: str
    submit: str
    block: type[TogetherJobBlock]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    tells_why: bool = True
    around: str = ""


CASES = {
    "deployment": Case(
        whole="deploy_container",
        submit="submit_deployment",
        block=tp.DeploymentJob,
        arguments={"name": "detector", "image": "registry.together.ai/me/detector:1", "gpu_type": "h100-80gb"},
        around="container",
    ),
    "cluster": Case(
        whole="create_cluster",
        submit="submit_cluster",
        block=tp.ClusterJob,
        arguments={
            "cluster_name": "training",
            "region": "us-central-8",
            "gpu_type": "H100_SXM",
            "num_gpus": 8,
            "billing_type": "ON_DEMAND",
            "driver_version": "CUDA_12_6_560",
        },
        tells_why=False,
        around="cluster",
    ),
    "shared_volume": Case(
        whole="create_shared_volume",
        submit="submit_shared_volume",
        block=tp.SharedVolumeJob,
        arguments={"volume_name": "data", "size_tib": 1, "region": "us-central-8"},
        tells_why=False,
    ),
    "video": Case(
        whole="make_video",
        submit="submit_video",
        block=tp.VideoJob,
        arguments={"model": "minimax/hailuo-02", "prompt": "a red bus", "seconds": 2},
    ),
    "queue": Case(
        whole="run_queue_job",
        submit="submit_queue_job",
        block=tp.QueueJob,
        arguments={"model": "me/detector", "payload": {"image": "street"}},
    ),
    "rl_session": Case(
        whole="start_rl_session",
        submit="submit_rl_session",
        block=tp.RLSessionJob,
        arguments={"base_model": MODEL, "lora_config": {"rank": 8, "alpha": 16}},
        tells_why=False,
        around="rl_session",
    ),
    "rl_operation": Case(
        whole="run_rl_operation",
        submit="submit_rl_operation",
        block=tp.RLOperationJob,
        arguments={"operation": "sample", "arguments": {"prompts": PROMPTS, "num_samples": 2}},
    ),
}
BILLING = [kind for kind in CASES if kind_named(kind).bills_until_stopped]
ENDED = [kind for kind in CASES if kind_named(kind).end is not None]
every_kind = pytest.mark.parametrize("kind", CASES)
#: How fast the emulator runs where a job is to be ended before it is done; what has begun in a queue cannot be.
ENDING_SPEED = {"cluster": 200.0, "queue": 0.01}


@pytest.fixture
def arguments(kind: str, emulator: Emulator) -> dict[str, Any]:
    """What the job is to be, with a session for what needs one."""
    given = dict(CASES[kind].arguments)
    if kind != "rl_operation":
        return given
    with Together(api_key=emulator.api_key, base_url=emulator.url) as client:
        session = client.send(rl.create_session(base_model=MODEL)).id
        while client.send(rl.retrieve_session(session)).status != "TRAINING_SESSION_STATUS_RUNNING":
            pass
    return {**given, "session_id": session}


def still_running(emulator: Emulator, kind: str) -> int:
    return running(emulator).get(kind, 0)


def test_every_kind_has_a_block() -> None:
    blocks = [value for value in vars(tp).values() if isinstance(value, type) and issubclass(value, TogetherJobBlock)]
    assert {block.kind for block in blocks} == set(KINDS)
    assert len({block._block_type_slug for block in blocks}) == len(KINDS)


@every_kind
def test_a_sync_task_submits_and_waits(kind: str, emulator: Emulator, arguments: dict[str, Any]) -> None:
    @tp.together_flow
    def whole() -> dict[str, Any]:
        made: dict[str, Any] = getattr(tp, CASES[kind].whole)(BLOCK, **QUICK, **arguments)
        return made

    made = whole()
    assert made["reference"].startswith(f"{kind}:")
    assert made["url"].endswith(made["id"])
    assert created(emulator, kind) == 1


@every_kind
async def test_an_async_task_submits_and_waits(kind: str, emulator: Emulator, arguments: dict[str, Any]) -> None:
    @tp.together_flow
    async def whole() -> list[dict[str, Any]]:
        job = await getattr(tp, f"a{CASES[kind].submit}")(BLOCK, **arguments)
        waited = await tp.await_for_job(BLOCK, job, **QUICK)
        if kind in BILLING:
            await tp.acall(BLOCK, *END[kind](waited["id"]))
        made = await getattr(tp, f"a{CASES[kind].whole}")(BLOCK, **QUICK, **arguments)
        return [waited, made]

    waited, made = await whole()
    assert waited["reference"] != made["reference"], "two task runs are two jobs"
    assert created(emulator, kind) == 2


END: dict[str, Callable[[str], tuple[str, dict[str, Any]]]] = {
    "deployment": lambda id_: ("deployments.delete", {"id": id_}),
    "cluster": lambda id_: ("compute.delete_cluster", {"cluster_id": id_}),
    "rl_session": lambda id_: ("rl.stop_session", {"session_id": id_}),
}


@every_kind
def test_a_failed_job_fails_the_run_with_its_own_words_and_bills_no_more(
    kind: str, emulator: Emulator, arguments: dict[str, Any]
) -> None:
    emulator.settings(fail={kind: "the disk is full"})

    @tp.together_flow
    def failing() -> None:
        getattr(tp, CASES[kind].whole)(BLOCK, **QUICK, **arguments)

    with pytest.raises(JobFailed) as failed:
        failing()
    assert ("the disk is full" in str(failed.value)) is CASES[kind].tells_why
    assert still_running(emulator, kind) == 0


@pytest.mark.parametrize("kind", BILLING)
@pytest.mark.parametrize("well", [True, False], ids=["well", "badly"])
def test_what_bills_is_ended_however_the_block_ends(
    well: bool, kind: str, emulator: Emulator, arguments: dict[str, Any]
) -> None:
    seen: list[int] = []

    @flow
    def working() -> None:
        with getattr(tp, CASES[kind].around)(BLOCK, **QUICK, **arguments) as started:
            assert started["id"]
            seen.append(still_running(emulator, kind))
            if not well:
                raise ValueError("the work went wrong")

    state = working(return_state=True)
    assert state.is_completed() is well
    assert seen == [1]
    assert still_running(emulator, kind) == 0


@pytest.mark.parametrize("kind", BILLING)
async def test_what_bills_is_ended_after_an_async_block(
    kind: str, emulator: Emulator, arguments: dict[str, Any]
) -> None:
    @flow
    async def working() -> int:
        async with getattr(tp, f"a{CASES[kind].around}")(BLOCK, **QUICK, **arguments):
            return still_running(emulator, kind)

    assert await working() == 1
    assert still_running(emulator, kind) == 0


@pytest.mark.parametrize("kind", BILLING)
def test_what_bills_is_ended_when_the_flow_fails(kind: str, emulator: Emulator, arguments: dict[str, Any]) -> None:
    @tp.together_flow
    def failing() -> None:
        getattr(tp, CASES[kind].whole)(BLOCK, **QUICK, **arguments)
        raise ValueError("something else went wrong")

    with pytest.raises(ValueError, match="something else"):
        failing()
    assert created(emulator, kind) == 1
    assert still_running(emulator, kind) == 0


@pytest.mark.parametrize("kind", ENDED)
def test_a_cancelled_run_leaves_nothing_running(kind: str, emulator: Emulator, arguments: dict[str, Any]) -> None:
    """The hook that another process runs after a cancellation, on a run whose own process did nothing."""
    emulator.settings(speed=ENDING_SPEED.get(kind, 3.0))

    @flow
    def submitting() -> None:
        getattr(tp, CASES[kind].submit)(BLOCK, **arguments)

    state = submitting(return_state=True)
    assert still_running(emulator, kind) == 1
    flow_run_id = state.state_details.flow_run_id
    assert flow_run_id is not None
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(flow_run_id)
    tp.end_jobs(submitting, flow_run, state)
    assert still_running(emulator, kind) == 0
    assert emulator.counts()["cancelled"][kind] == 1


@every_kind
def test_a_block_triggers_its_job(kind: str, emulator: Emulator, arguments: dict[str, Any]) -> None:
    credentials = tp.TogetherCredentials.load(BLOCK, _sync=True)  # type: ignore[call-arg] # taken by Prefect
    block_type: Any = CASES[kind].block
    name = f"job-{kind.replace('_', '-')}"
    block_type(credentials=credentials, arguments=arguments, **QUICK).save(name, overwrite=True, _sync=True)
    job_run = block_type.load(name, _sync=True).trigger()
    job_run.wait_for_completion()
    assert job_run.fetch_result()["reference"] == job_run.job["reference"]
    assert created(emulator, kind) == 1


@pytest.mark.parametrize("target", ["videos/bus.mp4", "videos/"])
def test_a_video_is_downloaded(target: str, emulator: Emulator, tmp_path: Path) -> None:
    @flow
    def filming() -> dict[str, Any]:
        return tp.make_video(
            BLOCK, output_path=f"{tmp_path}/{target}", model="minimax/hailuo-02", prompt="a bus", seconds=2, **QUICK
        )

    made = filming()
    film = Path(made["path"])
    assert film.name == ("bus.mp4" if target.endswith(".mp4") else f"{made['id']}.mp4")
    assert film.read_bytes()[4:8] == b"ftyp"
    assert list(film.parent.iterdir()) == [film]


def test_the_secret_variables_of_a_deployment_are_sent_and_not_shown(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    token = "a-token-of-mine"
    credentials = tp.TogetherCredentials.load(BLOCK, _sync=True)  # type: ignore[call-arg] # taken by Prefect
    plain = {**CASES["deployment"].arguments, "environment_variables": [{"name": "MODE", "value": "fast"}]}
    block: Any = tp.DeploymentJob(credentials=credentials, arguments=plain, secret_environment={"TOKEN": token})
    block.save("secretive-deployment", overwrite=True, _sync=True)
    loaded: Any = tp.DeploymentJob.load("secretive-deployment", _sync=True)  # type: ignore[call-arg] # taken by Prefect

    @tp.together_flow
    def deploying() -> dict[str, Any]:
        variables = [{"name": "TOKEN", "value": SecretStr(token)}]
        other = {**CASES["deployment"].arguments, "name": "other", "environment_variables": variables}
        return {"block": loaded.trigger().job, "task": tp.submit_deployment(BLOCK, **other)}

    with caplog.at_level("DEBUG"):
        state = deploying(return_state=True)
    jobs = state.result()
    with Together(api_key=emulator.api_key, base_url=emulator.url) as client:
        for job, expected in ((jobs["block"], {"MODE": "fast", "TOKEN": token}), (jobs["task"], {"TOKEN": token})):
            row = client.send(deployments.retrieve(job["id"]))
            assert {variable.name: variable.value for variable in row.environment_variables} == expected
    flow_run_id = state.state_details.flow_run_id
    assert flow_run_id is not None
    with get_client(sync_client=True) as api:
        flow_run, task_runs, artifacts = api.read_flow_run(flow_run_id), api.read_task_runs(), api.read_artifacts()
        document = api.read_block_document_by_name(
            "secretive-deployment", "together-ai-deployment-job", include_secrets=False
        )
    shown = "\n".join(map(repr, [flow_run, *task_runs, *artifacts, document, loaded, jobs])) + caplog.text
    assert "together_job" in shown
    assert token not in shown
