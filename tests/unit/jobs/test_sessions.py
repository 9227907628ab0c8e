"""What is particular to videos, training sessions and their operations."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.jobs.specimens import SPECIMENS
from together_flows.errors import ArgumentInvalid
from together_flows.jobs.rl_operation import KIND as OPERATION
from together_flows.jobs.rl_session import KIND as SESSION
from together_flows.jobs.steps import Send
from together_flows.jobs.video import KIND as VIDEO

TOKENS = {"encoded_text": {"tokens": [1, 2]}}
SAMPLE = {"model_input": {"chunks": [TOKENS]}, "loss_inputs": {"target_tokens": {"data": [2, 3]}}}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "forward_backward": {"samples": [SAMPLE], "loss": {"type": "LOSS_TYPE_CROSS_ENTROPY"}},
    "optim_step": {"learning_rate": 1e-4},
    "sample": {"prompts": [{"chunks": [TOKENS]}]},
    "inference_checkpoint": {},
    "training_checkpoint": {},
}


class TestOperation:
    @pytest.mark.parametrize("name", ARGUMENTS)
    def test_every_sort_is_created_and_read_in_its_own_place(self, name: str) -> None:
        spec = {"session_id": "s/1", "operation": name, **ARGUMENTS[name]}
        created = OPERATION.create(OPERATION.mark(spec, "tf0"))
        assert isinstance(created, Send)
        place = f"/rl/training-sessions/s%2F1/operations/{name.replace('_', '-')}"
        assert created.operation.path == place
        assert created.operation.headers == {"Idempotency-Key": "tf0"}
        assert created.operation.repeatable
        job_id = OPERATION.whole_id("op/1", spec)
        assert job_id == f"s%2F1/{name}/op%2F1"
        assert OPERATION.read(job_id).path == f"{place}/op%2F1"

    def test_a_key_that_the_caller_chose_stays(self) -> None:
        spec = {"session_id": "s", "operation": "optim_step", "idempotency_key": "mine"}
        assert OPERATION.mark(spec, "tf0")["idempotency_key"] == "mine"

    @pytest.mark.parametrize("name", ["teleport", None, "forward-backward"])
    def test_an_operation_that_there_is_not_is_refused_with_those_that_are(self, name: Any) -> None:
        with pytest.raises(ArgumentInvalid, match="forward_backward, optim_step"):
            OPERATION.create({"session_id": "s", "operation": name})

    @pytest.mark.parametrize("job_id", ["op-1", "s/op-1", "s/optim_step/", "/optim_step/op", "s/optim_step/op/1"])
    def test_what_is_no_such_id_is_refused_with_the_right_form(self, job_id: str) -> None:
        with pytest.raises(ArgumentInvalid, match="session/operation/id"):
            OPERATION.read(job_id)

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            ({"code": "TRAINING_OPERATION_ERROR_CODE_TIMEOUT", "message": "slow"}, "TIMEOUT: slow"),
            ({"message": "slow"}, "slow"),
            ({"code": "TRAINING_OPERATION_ERROR_CODE_TIMEOUT"}, "TIMEOUT"),
            (None, ""),
        ],
    )
    def test_the_words_of_a_failure(self, error: Any, words: str) -> None:
        row = {"id": "o", "status": "TRAINING_OPERATION_STATUS_FAILED", "error": error}
        assert OPERATION.status(row).message == words


class TestSession:
    @pytest.mark.parametrize(("step", "read"), [("12", 12), (12, 12), (None, 0), ("9007199254740993", 2**53 + 1)])
    def test_whole_numbers_of_64_bits_arrive_as_numbers_or_as_text(self, step: Any, read: int) -> None:
        assert SESSION.manifest({**SPECIMENS["rl_session"].row, "step": step})["step"] == read

    def test_a_manifest_names_the_latest_checkpoints(self) -> None:
        manifest = SESSION.manifest(SPECIMENS["rl_session"].row)
        last = SPECIMENS["rl_session"].row["training_checkpoints"][-1]["id"]
        assert manifest["training_checkpoints"][-1] == manifest["inference_checkpoints"][-1] == last
        assert len(manifest["training_checkpoints"]) == len(manifest["inference_checkpoints"]) == 10

    def test_statuses_are_shown_without_their_prefix(self) -> None:
        status = SESSION.status({"id": "s", "status": "TRAINING_SESSION_STATUS_ERROR"})
        assert status.describe() == "rl_session:s: failed (ERROR) - The session is in state ERROR"
        assert SESSION.manifest(SPECIMENS["rl_session"].row)["status"] == "RUNNING"

    def test_a_status_that_is_not_specified_is_unknown(self) -> None:
        assert not SESSION.status({"id": "s", "status": "TRAINING_SESSION_STATUS_UNSPECIFIED"}).known

    def test_the_list_shows_as_many_as_a_page_can_hold(self) -> None:
        assert SESSION.list_all is not None
        assert SESSION.list_all().query == {"limit": 100}


class TestVideo:
    @pytest.mark.parametrize(
        ("error", "words"),
        [({"code": "nsfw", "message": "no"}, "nsfw: no"), ({"message": "no"}, "no"), (None, "")],
    )
    def test_the_words_of_a_failure(self, error: Any, words: str) -> None:
        assert VIDEO.status({"id": "v", "status": "failed", "error": error}).message == words

    def test_a_manifest_has_the_address_and_the_cost(self) -> None:
        manifest = VIDEO.manifest(SPECIMENS["video"].row)
        assert (manifest["video_url"], manifest["cost_usd"]) == ("https://videos.example/1.mp4", 0.5)
        assert "url" not in manifest, "that name is taken: by the job's page"
