"""What the contract says the API answers is understood, to the last field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from tests.contract import contract
from tests.contract.test_requests import ROWS, arguments, build
from together_flows.api import CONTRACT, OPERATIONS, Operation, Reply
from together_flows.api._model import Answer
from together_flows.errors import AnswerInvalid

#: Properties that the contract leaves optional and without which nobody could go on: there we insist.
INSISTED = frozenset({"id", "status", "workflow_id", "requestId", "job"})

IN_JSON = [name for name in CONTRACT if OPERATIONS[name].reply is Reply.JSON]
STREAMED = [name for name in CONTRACT if OPERATIONS[name].streams]


@pytest.fixture(autouse=True)
def no_surprises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field that is kept because it is of another type than we declare fails the test."""

    lenient = Answer._optional_fields_of.__func__

    def strict(cls: type[Answer], error: ValidationError, data: Any) -> dict[str, str]:
        return {key: name for key, name in lenient(cls, error, data).items() if data[key] is None}

    monkeypatch.setattr(Answer, "_optional_fields_of", classmethod(strict))


def some_operation(name: str) -> Operation[Any]:
    for given in reversed(arguments(name)):
        try:
            return build(name, given)
        except ValueError:
            continue
    raise AssertionError(f"no arguments fit {name}")


def schema_of(name: str, media_type: str = "application/json") -> contract.Schema:
    return next(answer["schema"] for answer in ROWS[name]["answers"] if answer["type"] == media_type)


def undeclared(value: Any, place: str = "") -> Iterator[str]:
    """The fields that came and that no model declares, but for `object`, which only names the shape."""
    if isinstance(value, Answer):
        yield from (f"{place}.{name}" for name in value.model_extra or {} if name != "object")
        for name in type(value).model_fields:
            yield from undeclared(getattr(value, name), f"{place}.{name}")
    elif isinstance(value, list | tuple):
        for item in value:
            yield from undeclared(item, f"{place}[]")
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from undeclared(item, f"{place}.{key}")


@pytest.mark.parametrize("name", IN_JSON)
def test_every_answer_of_the_contract_parses_and_every_field_of_it_is_declared(name: str):
    operation = some_operation(name)
    for answer in contract.examples(schema_of(name), always=INSISTED):
        assert sorted(undeclared(operation.parse(with_counts(answer)))) == [], answer


def with_counts(answer: Any) -> Any:
    """The answer with JSON in the one text that has to be JSON."""
    if isinstance(answer, dict):
        return {key: '{"a": 1}' if key == "label_counts" else with_counts(item) for key, item in answer.items()}
    return [with_counts(item) for item in answer] if isinstance(answer, list) else answer


@pytest.mark.parametrize("name", STREAMED)
def test_every_event_of_a_stream_parses(name: str):
    operation = some_operation(name)
    events = [event["data"] for event in contract.examples(schema_of(name, "text/event-stream"))]
    chunks = [data for data in events if data != "[DONE]"]
    assert chunks
    for chunk in chunks:
        parsed = replace(operation, answer=operation.chunk).parse(chunk)
        assert isinstance(parsed, operation.chunk)
        assert sorted(undeclared(parsed)) == []


@pytest.mark.parametrize("name", IN_JSON)
def test_something_else_than_the_answer_is_refused(name: str):
    operation = some_operation(name)
    for other in ("<html>busy</html>", 42, [[]]):
        with pytest.raises(AnswerInvalid, match=name):
            operation.parse(other)


@pytest.mark.parametrize("name", IN_JSON)
def test_an_answer_without_its_id_or_status_is_refused(name: str):
    operation = some_operation(name)
    full = contract.fullest(schema_of(name))
    for key in required_keys(operation.answer) & full.keys() if isinstance(full, dict) else ():
        with pytest.raises(AnswerInvalid, match=f"{key} is required"):
            operation.parse({other: value for other, value in full.items() if other != key})


def required_keys(model: Any) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items() if field.is_required()}
