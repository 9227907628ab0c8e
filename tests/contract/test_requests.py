"""What we send is what the contract allows, and what the contract allows we send."""

from __future__ import annotations

import re
from collections import Counter
from itertools import product
from typing import Any

import pytest

from tests.contract import contract
from together_flows.api import CONTRACT, OPERATIONS, Operation
from together_flows.api._operation import revealed
from together_flows.errors import ArgumentInvalid

ROWS = dict(zip(CONTRACT, contract.OPERATIONS, strict=True))

#: Values that a shape cannot give away.
FITTING = {
    "max_score": 9.5,
    "environment_variables": [{"name": "MODE", "value": "fast"}, {"name": "KEY", "value_from_secret": "key"}],
}

#: Arguments that exclude each other: each set is left out in turn.
EXCLUSIVE = {
    "audio.create_speech": [{"stream"}, {"response_format"}],
    "fine_tunes.create": [{"from_checkpoint"}, {"from_hf_model"}, {"from_checkpoint", "train_on_inputs"}],
}

#: Where we refuse what the contract's shapes alone would let through, because it could only fail, or cost in vain.
STRICTER = {
    "evaluation.create": [
        r"because type is '\w+'",
        r"parameters\.\w+ is required",
        r"needs external_api_token",
    ],
    "fine_tunes.create": [r"train_on_inputs belongs to the training method 'sft'"],
}


def arguments(name: str) -> list[dict[str, Any]]:
    """Arguments for an operation: everything that the contract allows, way by way, and at last what it requires."""
    row = ROWS[name]
    body = row["body"]["schema"] if row["body"] else {"type": "object", "properties": {}}
    places: contract.Schema = {
        "type": "object",
        "properties": {contract.snake(p["name"]): p["schema"] for p in row["parameters"]},
        "required": [contract.snake(p["name"]) for p in row["parameters"] if p["required"]],
    }
    bodies = [*contract.examples(body)] if row["body"] else [{}]
    others = [*contract.examples(places)] if row["parameters"] else [{}]
    if name == "evaluation.create":
        bodies = [{**given, "type": kind} for kind in ("score", "compare", "classify") for given in bodies]
    return [
        fitted({key: value for key, value in {**other, **given}.items() if key not in left_out})
        for other, given, left_out in product(others, bodies, EXCLUSIVE.get(name, [set()]))
    ]


def fitted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: FITTING.get(key, fitted(item)) if item else item for key, item in value.items()}
    return [fitted(item) for item in value] if isinstance(value, list) else value


def build(name: str, given: dict[str, Any]) -> Operation[Any]:
    return OPERATIONS[name].function(**given)


@pytest.mark.parametrize("name", CONTRACT)
def test_what_the_contract_allows_is_sent_as_it_was_given(name: str):
    row = ROWS[name]
    refused: Counter[str] = Counter()
    sent = 0
    for given in arguments(name):
        try:
            operation = build(name, given)
        except ArgumentInvalid as error:
            refused[rule_of(name, str(error))] += 1
            continue
        sent += 1
        assert_sends(row, operation, given)
    assert sent
    assert refused.keys() == {*STRICTER.get(name, ())}


def rule_of(name: str, refusal: str) -> str:
    """The rule of ours that a refusal goes back to; a refusal without one fails the test by its own words."""
    return next((rule for rule in STRICTER.get(name, ()) if re.search(rule, refusal)), refusal)


def assert_sends(row: dict[str, Any], operation: Operation[Any], given: dict[str, Any]) -> None:
    assert (operation.method, operation.template) == (row["method"], row["path"])
    assert "{" not in operation.path
    query = {p["name"] for p in row["parameters"] if p["in"] == "query"}
    assert operation.query == {key: value for key, value in given.items() if key in query and value is not None}
    if row["body"] is None:
        assert operation.body is None
        return
    body = revealed(operation.body)
    properties = contract.resolved(row["body"]["schema"])["properties"]
    for key, value in given.items():
        if key not in properties:
            continue
        if isinstance(value, bytes):
            assert operation.parts[key] == value
        else:
            assert_holds(body.get(key), value, key)
    schema = row["body"]["schema"]
    assert contract.violations({**body, **dict.fromkeys(operation.parts, "file")}, schema) == []
    assert operation.form == (row["body"]["type"] == "multipart/form-data")


def assert_holds(sent: Any, given: Any, place: str) -> None:
    """What is sent has all that was given; it may have a default beside it."""
    if isinstance(given, dict):
        for key, value in given.items():
            if value is not None:
                assert_holds(sent[key], value, f"{place}.{key}")
    elif isinstance(given, list):
        assert len(sent) == len(given), place
        for position, (one, other) in enumerate(zip(sent, given, strict=True)):
            assert_holds(one, other, f"{place}.{position}")
    else:
        assert sent == given or (isinstance(sent, int) and str(sent) == given), place


@pytest.mark.parametrize("name", [name for name in CONTRACT if ROWS[name]["body"]])
def test_a_missing_argument_is_named(name: str):
    given = arguments(name)[-1]
    needed = [key for key, p in OPERATIONS[name].parameters.items() if p.default is p.empty]
    for key in needed:
        with pytest.raises(ArgumentInvalid, match=rf"{name}: .*\b{key} is required"):
            build(name, {other: value for other, value in given.items() if other != key})


@pytest.mark.parametrize("name", CONTRACT)
def test_an_argument_of_a_wrong_type_is_named(name: str):
    class Nothing:
        """Of no type that any argument could have."""

    for key in OPERATIONS[name].parameters:
        given = arguments(name)[-1] | {key: Nothing()}
        with pytest.raises(ArgumentInvalid, match=rf"\b{key} (must|is|takes|has|needs)"):
            build(name, given)


#: Texts that may be empty: what a model is given, and what a person may have nothing to say in.
MAY_BE_EMPTY = {"prompt", "input", "query", "code", "value", "description"}

#: Words out of an open list, where nothing is known of what may come.
OPEN_WORD = re.compile("Literal|GpuType|Purpose|Variant")


@pytest.mark.parametrize("name", CONTRACT)
def test_an_id_or_a_name_that_is_empty_is_refused_by_name(name: str):
    given = arguments(name)[-1]
    texts = {key for key, value in given.items() if isinstance(value, str)}
    for key in texts - MAY_BE_EMPTY:
        parameter = OPERATIONS[name].parameters[key]
        if parameter.default is not parameter.empty or OPEN_WORD.search(str(parameter.annotation)):
            continue
        with pytest.raises(ArgumentInvalid, match=rf"\b{key} must"):
            build(name, given | {key: ""})


@pytest.mark.parametrize("name", CONTRACT)
def test_a_bool_is_no_number_and_bytes_are_no_text(name: str):
    for given in arguments(name)[:1]:
        for key, value in given.items():
            mistaken = {int: True, float: True, str: b"text"}.get(type(value))
            parameter = OPERATIONS[name].parameters[key]
            if mistaken is None or "bool" in str(parameter.annotation) or key == "file":
                continue
            with pytest.raises(ArgumentInvalid, match=rf"\b{key} must be"):
                build(name, given | {key: mistaken})
