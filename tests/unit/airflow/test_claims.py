"""Whose a job is in Airflow, and how its task stands: read from what the REST API tells, without a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from airflow_provider.claims import AirflowClaims, is_final
from airflow_provider.rest_api import NotInAirflow
from together_flows.jobs.claim import Standing

Json = dict[str, Any]
DOWNSTREAM = {"serve": ["work", "stop_serve"], "alone": ["work"]}


def record(kind: str = "endpoint", **rest: Any) -> Json:
    return {
        "kind": kind,
        "fingerprint": "f",
        "marker": "tf0",
        "intent_at": 5.0,
        "phase": "submitted",
        "id": "1",
        **rest,
    }


def instance(task: str, state: str | None, *, operator: str = "TogetherEndpointOperator", **rest: Any) -> Json:
    row = {"dag_id": "d", "dag_run_id": "r/1", "task_id": task, "map_index": -1, "state": state, "try_number": 1}
    return {**row, "id": f"{task}{rest.get('map_index', '')}", "operator_name": operator, **rest}


@dataclass
class Told:
    """What an Airflow's REST API tells, in place of one that is asked."""

    instances: list[Json]
    stores: dict[str, Json] = field(default_factory=dict)
    asked: list[tuple[str, Json]] = field(default_factory=list)

    def rows(self, path: str, key: str, params: Mapping[str, Any]) -> Iterator[Json]:
        assert key == "task_instances"
        self.asked.append((path, dict(params)))
        if not self.instances:
            raise NotInAirflow("no such run")
        wanted = params.get("state")
        yield from (row for row in self.instances if wanted is None or (row["state"] or "none") in wanted)

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Json:
        self.asked.append((path, dict(params or {})))
        parts = path.split("/")
        if parts[-1] != "state-store":
            return {"downstream_task_ids": DOWNSTREAM.get(parts[-1], [])}
        assert params is not None
        kept = sorted(self.stores.get(f"{parts[-2]}{params['map_index']}", {}).items())
        first = kept[params["offset"] : params["offset"] + 2]  # pages of two, however many are asked for
        entries = [{"key": key, "value": value} for key, value in first]
        return {"task_state_store": entries, "total_entries": len(kept)}


def source(told: Told) -> AirflowClaims:
    return AirflowClaims(api=told)  # type: ignore[arg-type] # it answers as the API does


def standing(instances: list[Json], kept: Json) -> tuple[Standing, str]:
    [claim] = source(Told(instances, {f"{instances[0]['task_id']}-1": {"together_job": kept}})).claims()
    return claim.standing, claim.owner_state


STOP = "TogetherEndpointTeardownOperator"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, Standing.ACTIVE),
        ("running", Standing.ACTIVE),
        ("deferred", Standing.ACTIVE),
        ("up_for_retry", Standing.ACTIVE),
        ("a state of a later Airflow", Standing.ACTIVE),
        ("success", Standing.SUCCEEDED),
        ("failed", Standing.FAILED),
        ("upstream_failed", Standing.FAILED),
        ("removed", Standing.FAILED),
    ],
)
def test_a_task_wants_its_job_until_it_is_over(state: str | None, expected: Standing) -> None:
    told = Told([instance("alone", state)], {"alone-1": {"together_job": record()}})
    told.rows = lambda path, key, params: iter(told.instances)  # type: ignore[method-assign] # whatever is asked for
    [claim] = source(told).claims()
    assert claim.standing is expected
    assert claim.owner == "d / r/1 / alone, try 1"


def test_what_a_cleared_task_had_deployed_before_it_was_skipped_counts_as_left_on_purpose() -> None:
    assert standing([instance("alone", "skipped")], record(outcome="succeeded"))[0] is Standing.SUCCEEDED


@pytest.mark.parametrize(
    ("setup", "teardown", "expected"),
    [
        ("success", None, Standing.ACTIVE),
        ("success", "up_for_retry", Standing.ACTIVE),
        ("failed", "scheduled", Standing.ACTIVE),
        ("success", "failed", Standing.FAILED),
        ("success", "success", Standing.FAILED),
        ("failed", "upstream_failed", Standing.FAILED),
    ],
)
def test_an_endpoint_with_a_teardown_is_wanted_until_that_is_over(
    setup: str, teardown: str | None, expected: Standing
) -> None:
    found, words = standing(
        [instance("serve", setup), instance("stop_serve", teardown, operator=STOP, try_number=0)], record()
    )
    assert found is expected
    assert "teardown" in words


def test_the_teardown_of_another_task_or_of_what_ends_by_itself_does_not_count() -> None:
    other = instance("stop_serve", "failed", operator=STOP)
    assert standing([instance("alone", "success"), other], record())[0] is Standing.SUCCEEDED
    assert standing([instance("serve", "success"), other], record("batch"))[0] is Standing.SUCCEEDED


def test_all_jobs_of_all_mapped_instances_are_claimed_and_nothing_but_jobs() -> None:
    stores = {
        "alone0": {"together_clear_number": 0, "together_job": record(id="1"), "together_job_1": record(id="2")},
        "alone1": {"together_job": record(id="3"), "together_job_round_1": record(id="4"), "of_a_user": {"a": 1}},
    }
    told = Told([instance("alone", "running", map_index=index) for index in (0, 1)], stores)
    assert sorted(str(claim.record.id) for claim in source(told).claims()) == ["1", "2", "3", "4"]
    assert {claim.owner for claim in source(told).claims()} == {
        "d / r/1 / alone[0], try 1",
        "d / r/1 / alone[1], try 1",
    }


def test_only_tasks_that_have_begun_and_may_own_jobs_are_asked_for_their_records() -> None:
    told = Told(
        [
            instance("new", None, try_number=0),
            instance("stop_serve", "running", operator=STOP),
            instance("look", "running", operator="TogetherBatchSensor"),
        ]
    )
    assert list(source(told).claims()) == []
    assert not [path for path, _ in told.asked if path.endswith("state-store")]


def test_a_run_id_with_a_slash_is_quoted_and_unfinished_tasks_are_looked_at_however_old() -> None:
    told = Told([instance("alone", "deferred")], {"alone-1": {"together_job": record()}})
    [claim] = source(told).claims()
    claim.renew()
    paths = [path for path, _ in told.asked]
    assert "/dags/d/dagRuns/r%2F1/taskInstances/alone/state-store" in paths
    assert "/dags/d/dagRuns/r%2F1/taskInstances" in paths
    unfinished, recent = (params for path, params in told.asked if path == "/dags/~/dagRuns/~/taskInstances")
    assert "updated_at_gte" not in unfinished
    assert not any(is_final(state) for state in unfinished["state"])
    assert "state" not in recent


def test_a_claim_is_read_afresh_and_is_gone_with_its_record_or_its_run() -> None:
    told = Told([instance("alone", "failed")], {"alone-1": {"together_job": record()}})
    [claim] = source(told).claims()

    told.instances[0]["state"] = None
    renewed = claim.renew()
    assert renewed is not None
    assert renewed.standing is Standing.ACTIVE

    told.stores.clear()
    assert claim.renew() is None
    told.instances.clear()
    assert claim.renew() is None
