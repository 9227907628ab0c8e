"""Job records and the stores that keep them."""

from __future__ import annotations

import json
import multiprocessing
import re
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from together_flows.jobs.model import JobReference, JobState
from together_flows.jobs.record import (
    JobRecord,
    JobStore,
    MemoryStore,
    Phase,
    SqliteStore,
    TaskOutcome,
    fingerprint,
    marker_in,
    new_marker,
)

BARE = JobRecord(kind="batch", fingerprint="f", marker="tf0", intent_at=1.0)
FULL = JobRecord(
    kind="batch",
    fingerprint="f",
    marker="tf0",
    generation=2,
    intent_at=1.5,
    phase=Phase.ENDED,
    id="b-1",
    facts={"own_input_file_id": "file-1"},
    adopted_at=3.0,
    outcome=TaskOutcome.FAILED,
    job_state=JobState.EXPIRED,
    estimated_usd=1.25,
)


@pytest.mark.parametrize("record", [BARE, FULL])
def test_a_record_survives_json(record: JobRecord) -> None:
    back = JobRecord.from_dict(json.loads(json.dumps(record.to_dict())))
    assert back == record
    for name in ("phase", "outcome", "job_state"):
        assert type(getattr(back, name)) is type(getattr(record, name))


def test_what_is_not_set_is_not_written() -> None:
    assert set(BARE.to_dict()) == {"kind", "fingerprint", "marker", "generation", "intent_at", "phase"}


def test_a_record_of_a_newer_version_is_read() -> None:
    assert JobRecord.from_dict({**FULL.to_dict(), "colour": "blue"}) == FULL


def test_a_record_of_an_older_version_is_read() -> None:
    old = {"kind": "batch", "fingerprint": "f", "marker": "tf0", "intent_at": 1.0}
    assert JobRecord.from_dict(old) == BARE


def test_a_record_that_has_an_id_has_a_reference() -> None:
    assert FULL.reference == JobReference("batch", "b-1")
    with pytest.raises(AssertionError):
        _ = BARE.reference


def test_an_advanced_record_keeps_the_rest() -> None:
    assert BARE.advanced(Phase.SUBMITTED, id="b-2") == replace(BARE, phase=Phase.SUBMITTED, id="b-2")


def test_markers_are_short_unlike_each_other_and_fit_into_any_name() -> None:
    markers = {new_marker() for _ in range(5_000)}
    assert len(markers) == 5_000
    assert all(re.fullmatch("tf[0-9a-hj-km-np-z]{10}", marker) for marker in markers)


class Colour(Enum):
    BLUE = "blue"


class Judge(BaseModel):
    model: str
    token: SecretStr | None = None


class TestFingerprint:
    JSON = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )

    @given(spec=st.dictionaries(st.text(), JSON, max_size=4))
    def test_is_the_same_after_json(self, spec: dict[str, Any]) -> None:
        assert fingerprint("batch", json.loads(json.dumps(spec))) == fingerprint("batch", spec)

    @given(spec=st.dictionaries(st.text(), JSON, max_size=4), name=st.text())
    def test_leaves_ignored_names_out(self, spec: dict[str, Any], name: str) -> None:
        spec.pop(name, None)
        assert fingerprint("b", {**spec, name: "x"}, ignored=(name,)) == fingerprint("b", spec, ignored=(name,))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"a": [1, 2]}, {"a": (1, 2)}),
            ({"a": {"x", "y", "z"}}, {"a": frozenset(("z", "y", "x"))}),
            ({"a": Path("/x")}, {"a": "/x"}),
            ({"a": SecretStr("one")}, {"a": SecretStr("two")}),
            ({"a": [{"b": SecretStr("one")}]}, {"a": [{"b": SecretStr("two")}]}),
            ({"a": Judge(model="m", token=SecretStr("1"))}, {"a": Judge(model="m", token=SecretStr("2"))}),
            ({"a": Judge(model="m")}, {"a": {"model": "m"}}),
        ],
    )
    def test_is_the_same_for_the_same(self, one: dict[str, Any], other: dict[str, Any]) -> None:
        assert fingerprint("batch", one) == fingerprint("batch", other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"a": 1}, {"a": 2}),
            ({"a": 1}, {"b": 1}),
            ({"a": [1, 2]}, {"a": [2, 1]}),
            ({"a": {"b": None}}, {"a": {}}),
            ({"a": "1"}, {"a": 1}),
            ({"a": {"x"}}, {"a": {"y"}}),
            ({"a": Colour.BLUE}, {"a": "green"}),
        ],
    )
    def test_differs_where_something_differs(self, one: dict[str, Any], other: dict[str, Any]) -> None:
        assert fingerprint("batch", one) != fingerprint("batch", other)

    def test_differs_between_kinds(self) -> None:
        assert fingerprint("batch", {"a": 1}) != fingerprint("file", {"a": 1})

    def test_stays_what_it_was_for_the_records_that_are_stored(self) -> None:
        spec = {"training_file": "file-1", "n_epochs": 3, "lora": True, "note": "é", "args": [{"b": 1.5}]}
        assert fingerprint("fine_tune", spec) == STORED


STORED = "732453f49c415d0a74a2682b89ddd5e9b42fc0090e1f1faba21073f380b0d12c"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> JobStore:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "deep" / "er" / "records.sqlite3")


class TestStores:
    def test_what_was_saved_is_loaded(self, store: JobStore) -> None:
        assert store.load("a") is None
        store.save("a", BARE)
        store.save("b", FULL)
        assert (store.load("a"), store.load("b")) == (BARE, FULL)

    def test_the_last_word_counts(self, store: JobStore) -> None:
        store.save("a", BARE)
        store.save("a", FULL)
        assert store.load("a") == FULL

    def test_sqlite_keeps_records_for_the_next_process(self, tmp_path: Path) -> None:
        path = tmp_path / "records.sqlite3"
        writer = multiprocessing.get_context("spawn").Process(target=_save, args=(path,))
        writer.start()
        writer.join(30)
        assert writer.exitcode == 0
        assert SqliteStore(path).load("from another process") == FULL

    def test_sqlite_lists_its_keys(self, tmp_path: Path) -> None:
        store = SqliteStore(str(tmp_path / "records.sqlite3"))
        for key in ("b", "a", "c", "a"):
            store.save(key, BARE)
        assert store.keys() == ["a", "b", "c"]


def _save(path: Path) -> None:
    SqliteStore(path).save("from another process", FULL)


@given(before=st.text(alphabet="ab9-_. [", max_size=20), after=st.sampled_from(["", "]", ".jsonl", " #}", "-x"]))
def test_a_marker_is_found_in_a_text_unless_it_is_part_of_a_longer_word(before: str, after: str) -> None:
    marker = new_marker()
    glued = before[-1:].isalnum()
    assert marker_in(before + marker + after) == ("" if glued else marker)
    assert marker_in(before + after) == ""
