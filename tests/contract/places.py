"""Where in an operation's arguments the parts of its shapes are, and the arguments with such a part changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.contract import contract
from tests.contract.test_requests import ROWS, arguments, build
from together_flows.errors import ArgumentInvalid

Place = tuple[str | int, ...]

#: Stands in the place of a part for any position in a list.
EACH = "[]"


@dataclass(frozen=True)
class Part:
    """A part of an operation's arguments: where it is, and the shape that the contract gives it there."""

    operation: str
    place: Place
    schema: contract.Schema

    @property
    def field(self) -> str:
        """The name by which a person knows it."""
        return next(str(key) for key in reversed(self.place) if key != EACH)

    def __str__(self) -> str:
        return f"{self.operation} {'.'.join(map(str, self.place))}"


def parts(operation: str) -> Iterator[Part]:
    """All parts of an operation's arguments, at every depth; each shape once, where it refers to itself."""
    row = ROWS[operation]
    for parameter in row["parameters"]:
        yield from _within(operation, (contract.snake(parameter["name"]),), parameter["schema"], frozenset())
    if row["body"]:
        yield from _within(operation, (), row["body"]["schema"], frozenset())


def _within(operation: str, place: Place, schema: contract.Schema, above: frozenset[str]) -> Iterator[Part]:
    if (name := schema.get("$ref")) in above:
        return
    above |= {name} if name else frozenset()
    schema = contract.resolved(schema)
    yield Part(operation, place, schema)
    for key, item in schema.get("properties", {}).items():
        yield from _within(operation, (*place, key), item, above)
    if "items" in schema:
        yield from _within(operation, (*place, EACH), schema["items"], above)
    for alternative in [*schema.get("anyOf", ()), *schema.get("allOf", ())]:
        yield from _within(operation, place, alternative, above)


def having(part: Part) -> Iterator[tuple[dict[str, Any], Place]]:
    """Arguments that are taken as they are, each with a place in them where something of the part's shape is."""
    for given in arguments(part.operation):
        found = (
            place for place in _places(given, part.place) if not contract.violations(at(given, place), part.schema)
        )
        if (place := next(found, None)) is not None and not _refused(part.operation, given):
            yield given, place


def _places(value: Any, wanted: Place, place: Place = ()) -> Iterator[Place]:
    if not wanted:
        yield place
        return
    key, rest = wanted[0], wanted[1:]
    if key == EACH and isinstance(value, list):
        for position, item in enumerate(value):
            yield from _places(item, rest, (*place, position))
    elif isinstance(value, dict) and key in value:
        yield from _places(value[key], rest, (*place, key))


def _refused(operation: str, given: dict[str, Any]) -> bool:
    try:
        build(operation, given)
    except ArgumentInvalid:
        return True
    return False


def at(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value


def changed(given: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    """The arguments with another value at a place."""
    given = copy.deepcopy(given)
    at(given, place[:-1])[place[-1]] = value
    return given


def without(given: dict[str, Any], place: Place) -> dict[str, Any]:
    """The arguments without what is at a place."""
    given = copy.deepcopy(given)
    del at(given, place[:-1])[place[-1]]
    return given
