"""Bad input: one clear error, before money is spent where that is possible, and nothing left running."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client

import together_flows.prefect as tp
from tests.integration.prefect.conftest import BLOCK, HARDWARE, MODEL, QUICK, created, running, write_rows
from together_flows.emulator import Emulator
from together_flows.errors import (
    ArgumentInvalid,
    AuthenticationFailed,
    BudgetExceeded,
    ConfigurationInvalid,
    DatasetInvalid,
    EndpointCreationClosed,
    JobFailed,
    TogetherError,
)

Work = Callable[[Path], Any]


def wrong_key(folder: Path) -> Any:
    credentials = tp.TogetherCredentials.load(BLOCK, _sync=True)  # type: ignore[call-arg] # taken by Prefect
    wrong = tp.TogetherCredentials(api_key="wrong-key-1234567890", base_url=credentials.base_url)
    wrong.save("wrong", overwrite=True, _sync=True)  # type: ignore[call-arg] # taken by Prefect
    return tp.fine_tune("wrong", training_file="file-1", model=MODEL, **QUICK)


def missing_block(folder: Path) -> Any:
    return tp.fine_tune("nowhere", training_file="file-1", model=MODEL, **QUICK)


def unknown_model(folder: Path) -> Any:
    file = tp.upload_file(BLOCK, str(good_file(folder)), purpose="fine-tune", **QUICK)
    return tp.fine_tune(BLOCK, training_file=file["file_id"], model="no/such-model", **QUICK)


def malformed_file(folder: Path) -> Any:
    bad = folder / "bad.jsonl"
    bad.write_text('{"messages": [{"role": "bot", "content": "x"}]}\n{"oops"\n')
    return tp.upload_file(BLOCK, str(bad), purpose="fine-tune", **QUICK)


def file_that_only_the_server_refuses(folder: Path) -> Any:
    bad = folder / "bad.jsonl"
    bad.write_text('{"messages": [{"role": "bot", "content": "x"}]}\n')
    return tp.upload_file(BLOCK, str(bad), purpose="fine-tune", check=False, **QUICK)


def too_small_a_budget(folder: Path) -> Any:
    file = tp.upload_file(BLOCK, str(good_file(folder)), purpose="fine-tune", **QUICK)
    return tp.fine_tune(BLOCK, training_file=file["file_id"], model=MODEL, budget=0.5, **QUICK)


def too_small_a_budget_for_a_batch(folder: Path) -> Any:
    rows = ["Tell me a long story."] * 100
    return tp.batch(BLOCK, rows, str(folder / "out"), model=MODEL, max_tokens=2_000, budget=0.001, **QUICK)


def closed_endpoints(folder: Path) -> Any:
    return tp.deploy_endpoint(BLOCK, model=MODEL, hardware=HARDWARE, **QUICK)


def unknown_hardware(folder: Path) -> Any:
    return tp.deploy_endpoint(BLOCK, model=MODEL, hardware="1x_abacus", budget=10.0, **QUICK)


def secret_as_parameter(folder: Path) -> Any:
    arguments: dict[str, Any] = {"wandb_api_key": "wandb-secret-1"}
    return tp.submit_fine_tune(BLOCK, training_file="file-1", model=MODEL, **arguments)


def row_without_a_prompt(folder: Path) -> Any:
    return tp.batch(BLOCK, [{"nothing": "here"}], str(folder / "out"), model=MODEL, **QUICK)


def unknown_operation(folder: Path) -> Any:
    return tp.call(BLOCK, "files.explode")


def reference_that_is_none(folder: Path) -> Any:
    return tp.wait_for_job(BLOCK, "ft-123")


CASES: list[tuple[Work, type[TogetherError], str]] = [
    (wrong_key, AuthenticationFailed, "key"),
    (
        missing_block,
        ConfigurationInvalid,
        r"no credentials block 'nowhere'.*TogetherCredentials\(.*\.save\('nowhere'\)",
    ),
    (unknown_model, TogetherError, "no/such-model"),
    (malformed_file, DatasetInvalid, r"(?s)line 1, messages\[0\].role.*line 2"),
    (file_that_only_the_server_refuses, JobFailed, "ended as"),
    (too_small_a_budget, BudgetExceeded, r"above the budget of \$0.50. Nothing was submitted"),
    (too_small_a_budget_for_a_batch, BudgetExceeded, "above the budget"),
    (closed_endpoints, EndpointCreationClosed, "v1"),
    (unknown_hardware, TogetherError, "'1x_abacus' is no hardware"),
    (secret_as_parameter, ArgumentInvalid, "wandb_api_key must not be a parameter"),
    (row_without_a_prompt, DatasetInvalid, "line 1"),
    (unknown_operation, ArgumentInvalid, "'files.explode' is not an operation"),
    (reference_that_is_none, ArgumentInvalid, "kind:id"),
]


def good_file(folder: Path) -> Path:
    question, answer = {"role": "user", "content": "a?"}, {"role": "assistant", "content": "b."}
    return write_rows(folder / "train.jsonl", [{"messages": [question, answer]}] * 10)


def test_each_bad_input_is_one_clear_error_with_nothing_left_running(emulator: Emulator, tmp_path: Path) -> None:
    """All in one flow run, because each flow run costs a second."""
    emulator.settings(endpoints_v1_closed=True)
    seen: list[tuple[str, BaseException]] = []

    @flow
    def all_of_them() -> None:
        for work, _, _ in CASES:
            folder = tmp_path / work.__name__
            folder.mkdir()
            try:
                work(folder)
            except Exception as error:
                seen.append((work.__name__, error))

    all_of_them()
    emulator.settings(endpoints_v1_closed=False)
    assert [name for name, _ in seen] == [work.__name__ for work, _, _ in CASES]
    for (name, error), (_, expected, words) in zip(seen, CASES, strict=True):
        assert isinstance(error, expected), (name, error)
        with pytest.raises(expected, match=words):
            raise error
        assert "wrong-key-1234567890" not in str(error)
    assert running(emulator) == {}
    paid = {kind: number for kind, number in emulator.counts()["created"].items() if number and kind != "file"}
    assert paid == {}


def test_an_endpoint_that_does_not_come_up_is_ended(emulator: Emulator) -> None:
    emulator.fault(method="GET", path="/endpoints/{endpointId}", replace={"state": "ERROR"}, times=2)

    @flow
    def failing() -> None:
        tp.deploy_endpoint(BLOCK, model=MODEL, hardware=HARDWARE, **QUICK)

    with pytest.raises(JobFailed):
        failing()
    assert created(emulator, "endpoint") == 1
    assert running(emulator) == {}


def test_no_secret_shows_in_runs_artifacts_events_or_logs(
    emulator: Emulator, training: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = {"wandb": "wandb-secret-value-1", "hf": "hf-secret-value-2"}
    block = tp.TogetherCredentials(
        api_key=emulator.api_key, base_url=emulator.url, wandb_api_key=secrets["wandb"], hf_token=secrets["hf"]
    )
    block.save("secretive", overwrite=True, _sync=True)  # type: ignore[call-arg] # taken by Prefect's dispatcher

    @flow
    def reporting() -> dict[str, Any]:
        file = tp.upload_file("secretive", str(training), purpose="fine-tune", **QUICK)
        tp.upload_model("secretive", model_name="mine/copy", model_source="org/private", **QUICK)
        return tp.fine_tune(
            "secretive", training_file=file["file_id"], model=MODEL, wandb_project_name="parcels", **QUICK
        )

    with caplog.at_level("DEBUG"):
        state = reporting(return_state=True)
    flow_run_id = state.state_details.flow_run_id
    assert flow_run_id is not None
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(flow_run_id)
        task_runs = client.read_task_runs()
        artifacts = client.read_artifacts(limit=200)
    shown = "\n".join(map(repr, [flow_run, *task_runs, *artifacts, block, state.result()])) + caplog.text
    assert "together_job" in shown
    for secret in (emulator.api_key, *secrets.values()):
        assert secret not in shown
