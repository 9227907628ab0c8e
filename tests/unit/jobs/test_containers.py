"""What is particular to deployments and to the jobs in their queues."""

from __future__ import annotations

import pytest

from tests.unit.jobs.specimens import SPECIMENS
from together_flows.errors import ArgumentInvalid
from together_flows.jobs.deployment import KIND as DEPLOYMENT
from together_flows.jobs.queue import KIND as QUEUE

FAILED = {**SPECIMENS["deployment"].row, "status": "Failed"}


class TestDeployment:
    def test_each_reason_of_its_replicas_is_told_once(self) -> None:
        events = {
            "a": {"replica_status_message": "no such image", "replica_status_reason": "ErrImagePull"},
            "b": {"replica_status_message": "no such image"},
            "c": {"replica_status_reason": "OutOfMemory"},
            "d": {},
        }
        assert DEPLOYMENT.failure({**FAILED, "replica_events": events}) == "no such image; OutOfMemory"

    @pytest.mark.parametrize("events", [None, {}, {"a": {"replica_status_message": ""}}])
    def test_a_failure_without_reasons_is_put_into_words(self, events: object) -> None:
        assert DEPLOYMENT.failure({**FAILED, "replica_events": events}) == "No replica of it could be started."

    def test_its_description_keeps_the_users_own_and_ends_with_the_marker(self) -> None:
        assert DEPLOYMENT.mark({"name": "n", "description": "mine"}, "tf0")["description"] == "mine [tf0]"
        assert DEPLOYMENT.mark({"name": "n"}, "tf0")["description"] == "[tf0]"
        assert DEPLOYMENT.mark({"name": "n"}, "tf0")["name"] == "n"

    def test_a_specification_without_a_name_is_left_to_the_operation_to_refuse(self) -> None:
        assert DEPLOYMENT.prepare is not None
        with pytest.raises(StopIteration) as end:
            next(DEPLOYMENT.prepare({"image": "i"}, "tf0"))
        assert end.value.value.facts == {}
        with pytest.raises(ArgumentInvalid, match="name"):
            DEPLOYMENT.create({"image": "i", "gpu_type": "h100-80gb"})

    def test_one_that_is_scaled_to_zero_serves_when_there_is_work(self) -> None:
        assert DEPLOYMENT.status({**FAILED, "status": "ScaledToZero"}).state == "succeeded"


class TestQueue:
    def test_an_id_holds_the_model_and_the_request(self) -> None:
        job_id = QUEUE.whole_id("req/1", {"model": "me/de:tector"})
        assert job_id == "me%2Fde%3Atector/req%2F1"
        assert QUEUE.read(job_id).query == {"model": "me/de:tector", "request_id": "req/1"}
        assert QUEUE.id_of({"model": "me/de:tector", "request_id": "req/1"}) == job_id

    @pytest.mark.parametrize("job_id", ["req-1", "/req-1", "model/", "org/model/req-1", ""])
    def test_what_is_no_such_id_is_refused_with_the_right_form(self, job_id: str) -> None:
        with pytest.raises(ArgumentInvalid, match="model/request_id"):
            QUEUE.read(job_id)

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ({"outputs": {"error": "no gpu"}, "info": {"error": "old"}}, "no gpu"),
            ({"outputs": {}, "info": {"error": "timed out"}}, "timed out"),
            ({"outputs": None, "info": None, "warnings": ["late", "slow"]}, "late; slow"),
            ({"warnings": None}, ""),
        ],
    )
    def test_the_words_of_a_failure_are_taken_from_where_the_worker_put_them(
        self, row: dict[str, object], words: str
    ) -> None:
        assert QUEUE.failure(row) == words
