"""What is decided without a server: whether to end or leave, to try again, to sweep, and which secret goes where."""

from __future__ import annotations

import subprocess
import sys
import typing
from dataclasses import replace
from typing import Any

import pytest
from prefect.client.schemas.objects import StateType
from prefect.states import Failed
from pydantic import SecretStr

from together_flows.api import OPERATIONS
from together_flows.errors import (
    JobCancelled,
    JobFailed,
    NotFound,
    RateLimited,
    ServerFailed,
    TogetherError,
    WaitTimeout,
)
from together_flows.jobs import JobRecord, JobReference, Phase
from together_flows.jobs.steps import Elapsed, Now, Save, Send, Steps
from together_flows.prefect.credentials import TogetherCredentials, name_of
from together_flows.prefect.flows.sweep import verdict
from together_flows.prefect.interruption import settlement
from together_flows.prefect.kept import KeptRecord
from together_flows.prefect.retries import may_help, may_help_to_wait
from together_flows.prefect.secret_arguments import with_secrets
from together_flows.prefect.tasks.fine_tuning import FineTuneArguments
from together_flows.prefect.tasks.models import ModelUploadArguments
from together_flows.prefect.view import slug
from together_flows.prefect.waits import as_entry, error_of

FINE_TUNE = JobRecord(kind="fine_tune", fingerprint="f", marker="tf0", intent_at=5.0, phase=Phase.SUBMITTED, id="ft-1")
ENDPOINT = replace(FINE_TUNE, kind="endpoint", id="ep-1")


@pytest.mark.parametrize(
    ("record", "wanted", "ended"),
    [
        (FINE_TUNE, False, True),
        (FINE_TUNE, True, False),
        (FINE_TUNE, None, False),
        (ENDPOINT, False, True),
        (ENDPOINT, True, True),
        (ENDPOINT, None, True),
    ],
)
def test_an_interruption_ends_what_is_not_wanted_and_what_bills(
    record: JobRecord, wanted: bool | None, ended: bool
) -> None:
    sent, saved = performed(settlement(record, wanted=wanted))
    assert any(name.endswith((".cancel", ".delete")) for name in sent) is ended
    assert [kept.phase for kept in saved] == [Phase.ENDED] * ended


def performed(steps: Steps[None]) -> tuple[list[str], list[JobRecord]]:
    """The names of the operations that steps sent, and the records that they saved. What is ended is not found."""
    sent: list[str] = []
    saved: list[JobRecord] = []
    answer: Any = None
    try:
        step = next(steps)
        while True:
            answer = None
            match step:
                case Send(operation) if operation.name.endswith(".retrieve"):
                    step = steps.throw(NotFound("gone", status_code=404))
                    continue
                case Send(operation):
                    sent.append(operation.name)
                case Save(record):
                    saved.append(record)
                case Now() | Elapsed():
                    answer = 6.0
            step = steps.send(answer)
    except StopIteration:
        return sent, saved


@pytest.mark.parametrize(
    ("record", "state", "expected"),
    [
        (FINE_TUNE, StateType.CANCELLED, "end"),
        (FINE_TUNE, StateType.CRASHED, "leave"),
        (FINE_TUNE, StateType.COMPLETED, "leave"),
        (ENDPOINT, StateType.CANCELLED, "end"),
        (ENDPOINT, StateType.FAILED, "end"),
        (ENDPOINT, StateType.COMPLETED, "keep"),
    ],
)
def test_the_sweep_ends_only_what_nobody_can_want(record: JobRecord, state: StateType, expected: str) -> None:
    assert verdict(KeptRecord("k", record), state) == expected


@pytest.mark.parametrize(
    ("error", "submit_again", "wait_again"),
    [
        (RateLimited("slow", status_code=429), True, True),
        (ServerFailed("down", status_code=503), True, True),
        (TogetherError("no"), False, False),
        (JobFailed("died", retryable=True), True, False),
        (JobFailed("your fault"), False, False),
        (WaitTimeout("late"), False, False),
        (ValueError("not ours"), True, True),
    ],
)
def test_a_retry_happens_only_where_it_can_help(error: Exception, submit_again: bool, wait_again: bool) -> None:
    state = Failed(data=error)
    task: Any = None
    assert may_help(task, task, state) is submit_again
    assert may_help_to_wait(task, task, state) is wait_again


def block() -> TogetherCredentials:
    return TogetherCredentials(
        api_key=SecretStr("key-1"), wandb_api_key=SecretStr("w-1"), hf_token=SecretStr("h-1"), external_api_token="x-1"
    )


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("fine_tune", {"model": "m"}, set()),
        ("fine_tune", {"model": "m", "wandb_name": "n"}, {"w-1"}),
        ("fine_tune", {"model": "m", "from_hf_model": "org/m"}, {"h-1"}),
        ("model_upload", {"model_name": "m"}, {"h-1"}),
        ("batch", {"input_file_id": "file-1"}, set()),
        ("evaluation", {"parameters": {"judge": {"model": "j", "model_source": "serverless"}}}, set()),
        ("evaluation", {"parameters": {"judge": {"model": "j", "model_source": "external"}}}, {"x-1"}),
    ],
)
def test_a_secret_goes_only_with_a_job_that_has_a_use_for_it(
    kind: str, spec: dict[str, Any], expected: set[str]
) -> None:
    assert secrets_in(with_secrets(kind, spec, block())) == expected


def secrets_in(value: Any) -> set[str]:
    if isinstance(value, SecretStr):
        return {value.get_secret_value()}
    return set().union(*map(secrets_in, value.values())) if isinstance(value, dict) else set()


def test_no_secret_shows_in_a_block_or_a_specification() -> None:
    full = with_secrets("fine_tune", {"wandb_name": "n", "from_hf_model": "org/m"}, block())
    shown = repr(block()) + str(block()) + repr(full) + block().model_dump_json()
    assert not {secret for secret in ("key-1", "w-1", "h-1", "x-1") if secret in shown}


def test_a_block_is_known_by_its_bare_name() -> None:
    assert name_of("together") == name_of("together-ai-credentials/together") == "together"
    assert name_of(block()) == ""


@pytest.mark.parametrize(
    ("arguments", "operation", "secret"),
    [
        (FineTuneArguments, "fine_tunes.create", {"wandb_api_key", "hf_api_token"}),
        (ModelUploadArguments, "models.upload", {"hf_token"}),
    ],
)
def test_tasks_take_every_argument_of_their_operation_but_its_secrets(
    arguments: type, operation: str, secret: set[str]
) -> None:
    assert set(typing.get_type_hints(arguments)) | secret == set(OPERATIONS[operation].parameters)
    assert not set(typing.get_type_hints(arguments)) & secret


@pytest.mark.parametrize(
    "error", [JobFailed("a", retryable=True), JobCancelled("b"), TogetherError("c", retryable=True)]
)
def test_an_error_survives_being_plain_data(error: TogetherError) -> None:
    entry = as_entry(JobReference("batch", "1"), "page", error)
    again = error_of(entry)
    assert type(again) is type(error)
    assert (str(again), again.retryable) == (str(error), error.retryable)
    assert error_of({"reference": "batch:1", "error_file_id": "file-1"}) is None


def test_keys_of_artifacts_are_what_prefect_takes() -> None:
    assert slug("together", "fine_tune", "Ft-ÄB_9") == "together-fine-tune-ft-b-9"


def test_the_core_loads_no_prefect() -> None:
    code = (
        "import sys, together_flows, together_flows.jobs, together_flows.api, together_flows.datasets;"
        "sys.exit('prefect' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
