"""Reading a large answer in small steps.

One call into C that decodes ten megabytes keeps the interpreter's lock for a tenth of a second, and with it every event
loop of the process, even when it is made in another thread. Row by row the lock is free every few milliseconds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, get_args, get_origin

import msgspec
from pydantic import BaseModel, TypeAdapter, ValidationError

__all__ = ["decoded_in_steps", "rows_parsed"]

_LONG = 64 * 1024  # bytes of a nested value from which it is taken apart as well

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_rows = msgspec.json.Decoder(list[msgspec.Raw])
_whole = msgspec.json.Decoder()


def decoded_in_steps(body: bytes) -> Any:
    """The same as decoding the body at once.

    Raises:
        msgspec.DecodeError: it is no JSON.
    """
    return _taken_apart(memoryview(body))


def _taken_apart(raw: memoryview) -> Any:
    if len(raw) > _LONG:
        start = bytes(raw[:64]).lstrip()[:1]
        if start == b"[":
            return [_taken_apart(memoryview(row)) for row in _rows.decode(raw)]
        if start == b"{":
            return {key: _taken_apart(memoryview(value)) for key, value in _members.decode(raw).items()}
    return _whole.decode(raw)


def rows_parsed(answer: Any, decoded: Any) -> Any:
    """The decoded answer with its rows turned into models already, one by one, where its type has rows.

    A row that is refused stays as it is, so that parsing the whole tells what is wrong with it, and where.
    """
    if isinstance(decoded, list):
        row = _row_type(answer)
        return decoded if row is None else _each(row, decoded)
    if isinstance(decoded, dict) and isinstance(answer, type) and issubclass(answer, BaseModel):
        return decoded | {
            key: _each(row, decoded[key]) for key, row in _lists_of(answer) if isinstance(decoded.get(key), list)
        }
    return decoded


def _each(row_type: Any, rows: list[Any]) -> list[Any]:
    validate = TypeAdapter(row_type).validate_python
    return [_one(validate, row) for row in rows]


def _one(validate: Callable[[Any], Any], row: Any) -> Any:
    try:
        return validate(row)
    except ValidationError:
        return row


@functools.cache
def _lists_of(model: type[BaseModel]) -> list[tuple[str, Any]]:
    """The names on the wire of a model's lists of models, each with the type of its rows."""
    found = []
    for name, field in model.model_fields.items():
        row = _row_type(field.annotation)
        if row is not None:
            found.append((field.alias or name, row))
    return found


def _row_type(annotation: Any) -> Any:
    """The model that a list holds; `None` for anything but a list of models."""
    if get_origin(annotation) not in (list, Sequence):
        return None
    (row,) = get_args(annotation)
    return row if isinstance(row, type) and issubclass(row, BaseModel) else None
