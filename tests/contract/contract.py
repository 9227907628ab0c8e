"""The API's contract as the tests read it: `contract.json`, and examples of the values that its shapes allow."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.contract.compile_contract import TABLE, Schema

_TABLE = json.loads(TABLE.read_text(encoding="utf-8"))

OPERATIONS: list[dict[str, Any]] = _TABLE["operations"]
SHAPES: dict[str, Schema] = _TABLE["shapes"]

_REPOSITORY = Path(__file__).parents[2]


def openapi_document() -> Path | None:
    """The OpenAPI document that the table is compiled from, where it can be had."""
    named = os.environ.get("TOGETHER_OPENAPI")
    beside = _REPOSITORY.parent / "shared" / "reference" / "together-openapi.yaml"
    return Path(named) if named else beside if beside.exists() else None


#: How the contract writes an integer of 64 bits.
_LONG_INTEGER = [{"type": "string"}, {"type": "integer"}]


def violations(value: Any, schema: Schema) -> list[str]:
    """Where a value breaks a shape of the contract."""
    validator = Draft202012Validator({**schema, "shapes": SHAPES})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def resolved(schema: Schema) -> Schema:
    while "$ref" in schema:
        schema = SHAPES[schema["$ref"].rpartition("/")[2]]
    return schema


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def examples(schema: Schema, *, always: frozenset[str] = frozenset()) -> Iterator[Any]:
    """Values that a shape allows: the fullest first, then one for each way in which it can differ, then the barest.

    Args:
        schema: the shape.
        always: names of properties that are never left out.
    """
    schema = resolved(schema)
    if "const" in schema:
        yield schema["const"]
    elif "enum" in schema:
        yield from schema["enum"]
    elif schema.get("anyOf") == _LONG_INTEGER:
        yield from ("7", 8)
    elif "anyOf" in schema:
        for alternative in schema["anyOf"]:
            yield from examples(alternative, always=always)
    elif "allOf" in schema:
        yield from examples(_merged(schema["allOf"]), always=always)
    elif schema.get("type") == "array":
        yield from _arrays(schema, always)
    elif schema.get("type") == "object" or "properties" in schema:
        yield from _objects(schema, always)
    else:
        yield _scalar(schema)


def fullest(schema: Schema, *, always: frozenset[str] = frozenset()) -> Any:
    return next(examples(schema, always=always))


def _merged(parts: list[Schema]) -> Schema:
    merged: Schema = {}
    for part in map(resolved, parts):
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        merged = {**merged, **part, **({"properties": properties} if properties else {})}
    return merged


def _arrays(schema: Schema, always: frozenset[str]) -> Iterator[list[Any]]:
    least, most = schema.get("minItems", 0), schema.get("maxItems", 50)
    items = [*islice(examples(schema["items"], always=always), most)]
    yield items * max(1, least)
    if least == 0:
        yield []


def _objects(schema: Schema, always: frozenset[str]) -> Iterator[dict[str, Any]]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    if not properties:
        extra = schema.get("additionalProperties")
        yield {"key": next(examples(extra, always=always))} if extra else {"key": "value"}
        return
    ways = {name: [*examples(_told_by_name(name, item), always=always)] for name, item in properties.items()}
    full = {name: alternatives[0] for name, alternatives in ways.items()}
    yield full
    for name, alternatives in ways.items():
        for alternative in alternatives[1:]:
            yield {**full, name: alternative}
    needed = {*schema.get("required", ()), *(always & properties.keys())}
    yield {name: ways[name][-1] for name in full if name in needed}


def _told_by_name(name: str, schema: Schema) -> Schema:
    """The shape of a property, where its name says more: times that are called text, counts that are called numbers."""
    if name == "index":
        return {"type": "integer"}
    if name == "token_ids":
        return {"type": "array", "items": {"type": "integer"}}
    if schema == {"type": "string"} and name.endswith(("_at", "_since", "_modified")):
        return {"type": "string", "format": "date-time"}
    return schema


def _scalar(schema: Schema) -> Any:
    kind = schema.get("type", "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "null":
            return None
        case "boolean":
            return True
        case "integer":
            return min(max(8, schema.get("minimum", 8)), schema.get("maximum", 8))
        case "number":
            return min(max(0.5, schema.get("minimum", 0.5)), schema.get("maximum", 0.5))
        case "string" if schema.get("format") == "uri":
            return "https://example.com/a.wav"
        case "string" if schema.get("format") == "binary":
            return b"content"
        case "string" if schema.get("format") == "date-time":
            return "2026-01-31T12:00:00Z"
        case "string" if schema.get("format") in {"int64", "uint64"}:
            return "7"
    return "text"
