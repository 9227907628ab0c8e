"""Compile the API's OpenAPI document into `contract.json`, the table that the contract tests read.

Usage: python -m tests.contract.compile_contract OPENAPI_YAML

Only facts go into the table: methods, paths, parameters and the shapes of bodies and answers. Prose, examples and
defaults stay behind. Four habits of the document are evened out on the way: `nullable` becomes a type of JSON Schema;
`oneOf` becomes `anyOf`, since the alternatives overlap (a cosine's arguments are a line's arguments too); parts of an
`allOf` that only say "nullable" are taken as that; and a `type` beside alternatives or an enumeration is left out,
since it contradicts some of them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).with_name("contract.json")

METHODS = ("get", "post", "put", "patch", "delete")

#: Keywords that say which values are valid. `format` is kept where it says what a text stands for.
KEYWORDS = (
    "type",
    "enum",
    "const",
    "required",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "pattern",
)
FORMATS = ("binary", "uri", "date-time", "int64", "uint64")

Schema = dict[str, Any]


def compile_contract(document: Mapping[str, Any]) -> dict[str, Any]:
    """The operations in the document's order, and the named shapes that they refer to."""
    operations = [
        _operation(method.upper(), path, item[method])
        for path, item in document["paths"].items()
        for method in item
        if method in METHODS
    ]
    shapes = {name: _compact(schema) for name, schema in document["components"]["schemas"].items()}
    return {"operations": operations, "shapes": {name: shapes[name] for name in sorted(_reached(operations, shapes))}}


def _reached(part: Any, shapes: Mapping[str, Schema]) -> set[str]:
    """The names of the shapes that a part of the table refers to, at whatever distance."""
    reached: set[str] = set()
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            name = part.get("$ref", "").rpartition("/")[2] if isinstance(part.get("$ref"), str) else ""
            if name and name not in reached:
                reached.add(name)
                waiting.append(shapes[name])
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
    return reached


def _operation(method: str, path: str, source: Mapping[str, Any]) -> dict[str, Any]:
    servers = source.get("servers") or [{"url": "/v1"}]
    return {
        "method": method,
        "path": path,
        "version": servers[0]["url"].rpartition("/")[2],
        "parameters": [
            {
                "name": parameter["name"],
                "in": parameter["in"],
                "required": parameter.get("required", False),
                "schema": _compact(parameter["schema"]),
            }
            for parameter in source.get("parameters", ())
        ],
        "body": next(_contents(source.get("requestBody", {})), None),
        "answers": [
            {"status": int(status), **content}
            for status, answer in source["responses"].items()
            if status.isdigit() and int(status) < 400
            for content in [*_contents(answer)] or [{"type": None, "schema": {}}]
        ],
    }


def _contents(source: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for media_type, content in source.get("content", {}).items():
        yield {"type": media_type, "schema": _compact(content["schema"])}


def _compact(source: Mapping[str, Any]) -> Schema:
    if "$ref" in source:
        return {"$ref": "#/shapes/" + source["$ref"].rpartition("/")[2]}
    schema: Schema = {key: source[key] for key in KEYWORDS if key in source}
    if source.get("format") in FORMATS:
        schema["format"] = source["format"]
    if "properties" in source:
        schema["properties"] = {name: _compact(item) for name, item in source["properties"].items()}
    if "items" in source:
        schema["items"] = _compact(source["items"])
    if isinstance(source.get("additionalProperties"), Mapping):
        schema["additionalProperties"] = _compact(source["additionalProperties"])
    if alternatives := [*source.get("oneOf", ()), *source.get("anyOf", ())]:
        schema["anyOf"] = [_compact(alternative) for alternative in alternatives]
    parts = source.get("allOf", ())
    if real := [_compact(part) for part in parts if set(part) - {"nullable"}]:
        schema["allOf"] = real
    if {"anyOf", "enum"} & schema.keys():
        schema.pop("type", None)
    nullable = source.get("nullable") or any(part.get("nullable") for part in parts)
    return {"anyOf": [schema, {"type": "null"}]} if nullable else schema


def render(table: Mapping[str, Any]) -> str:
    """The table as JSON, with a line for each operation and each shape."""
    operations = ",\n".join(_line(operation) for operation in table["operations"])
    shapes = ",\n".join(f"{_line(name)}: {_line(schema)}" for name, schema in table["shapes"].items())
    return f'{{"operations": [\n{operations}\n],\n"shapes": {{\n{shapes}\n}}}}\n'


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main(source: str) -> None:
    document = yaml.safe_load(Path(source).read_text(encoding="utf-8"))
    TABLE.write_text(render(compile_contract(document)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
