"""What is sent is JSON, and what JSON cannot hold is refused before it is sent, without being shown."""

from __future__ import annotations

import json
from collections import deque
from datetime import UTC, date, datetime
from enum import Enum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from together_flows.api import fine_tunes, queue
from together_flows.api._operation import plain, revealed
from together_flows.errors import ArgumentInvalid

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Colour(Enum):
    RED = "red"


@given(JSON)
def test_json_stays_as_it_is(value: Any):
    assert revealed(plain(value)) == value
    json.dumps(plain(value))


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_a_free_payload_arrives_unchanged(payload: dict[str, Any]):
    assert queue.submit(model="m", payload=payload).body == {"model": "m", "payload": payload}


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ((1, 2), [1, 2]),
        (deque(["a"]), ["a"]),
        ({"b", "a"}, ["a", "b"]),
        ({1: "one"}, {"1": "one"}),
        (datetime(2026, 1, 31, tzinfo=UTC), "2026-01-31T00:00:00+00:00"),
        (date(2026, 1, 31), "2026-01-31"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("a/b"), "a/b"),
        (Colour.RED, "red"),
        ([True, None, 1], [True, None, 1]),
    ],
)
def test_what_has_an_obvious_form_in_json_is_sent_in_it(value: Any, sent: Any):
    assert plain(value) == sent


@pytest.mark.parametrize(
    "value", [float("inf"), float("nan"), object(), b"do-not-show", 1 + 2j, "\ud800", {None: 1}, {True: 1}]
)
def test_what_has_none_is_refused_and_not_shown(value: Any):
    with pytest.raises(ArgumentInvalid, match=r"queue\.submit: payload: .* cannot be sent as JSON") as caught:
        queue.submit(model="m", payload={"deep": [value]})
    assert "do-not-show" not in str(caught.value)


def test_secrets_stay_hidden_in_plain_data_and_come_out_when_revealed():
    data = plain({"a": [{"key": SecretStr("sk-1")}]})
    assert data == {"a": [{"key": SecretStr("sk-1")}]}
    assert "sk-1" not in repr(data)
    assert revealed(data) == {"a": [{"key": "sk-1"}]}


def test_times_in_a_query_are_written_as_the_api_wants_them():
    made = fine_tunes.metrics("ft-1", logged_at_from=datetime(2026, 1, 31, tzinfo=UTC), resolution=100)
    assert made.query == {"logged_at_from": "2026-01-31T00:00:00+00:00", "resolution": 100}
