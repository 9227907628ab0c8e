"""Answers in a given form: JSON that follows a schema, and calls of tools."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["as_json", "instance"]


def as_json(answer: str, response_format: dict[str, Any]) -> str:
    """The answer in the wanted JSON form; one that has it already stays as it is."""
    if response_format.get("type") not in ("json_object", "json_schema"):
        return answer
    try:
        if isinstance(msgspec.json.decode(answer), dict):
            return answer
    except msgspec.DecodeError:
        pass
    described = response_format.get("json_schema") or response_format.get("schema") or {}
    schema = described.get("schema", described)
    value = instance(schema, answer) if schema else {"answer": answer}
    return msgspec.json.encode(value).decode()


def instance(schema: dict[str, Any], text: str, definitions: dict[str, Any] | None = None) -> Any:
    """A value that fits the schema, with the text wherever a string is wanted."""
    definitions = definitions or schema.get("$defs") or schema.get("definitions") or {}
    if "$ref" in schema:
        return instance(definitions.get(schema["$ref"].rpartition("/")[2], {}), text, definitions)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        lowered = text.lower()
        return next((value for value in schema["enum"] if str(value).lower() in lowered), schema["enum"][0])
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return instance(schema[choice][0], text, definitions)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    match kind:
        case "object":
            return {key: instance(part, text, definitions) for key, part in schema.get("properties", {}).items()}
        case "array":
            return [instance(schema.get("items", {}), text, definitions)] * max(1, schema.get("minItems", 1))
        case "integer" | "number":
            return schema.get("minimum", len(text.split()))
        case "boolean":
            return True
        case "null":
            return None
    return text[: schema.get("maxLength", len(text))]
