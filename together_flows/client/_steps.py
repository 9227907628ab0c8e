"""Reading a large answer in small steps.

One call into C that decodes ten megabytes keeps the interpreter's lock for a tenth of a second, and with it every event
loop of the process, even when it is made in another thread. Row by row the lock is free every few milliseconds.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, get_args, get_origin

import msgspec
from pydantic import BaseModel, TypeAdapter, ValidationError

from together_flows.errors import AnswerInvalid

__all__ = ["checked_size", "decoded_in_steps", "rows_parsed"]

_LONG = 64 * 1024  # bytes of a nested value from which it is taken apart as well

MOST_CONTAINERS = 500_000
"""Most lists and objects of an answer: ten for each of 50,000 jobs. They take up to 100 MB even if they are empty."""

MOST_VALUES = 4_000_000
"""Most values of an answer: eighty for each of 50,000 jobs, or a million tokens with what belongs to them."""

_MOST_REFUSED = 1_000

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


def checked_size(name: str, body: bytes) -> None:
    """Refuse JSON that is small as text and would be huge as data: `[]` takes two bytes here and 64 there.

    Args:
        name: the operation's name, for the message.
        body: the JSON. What stands in its texts is counted as well; the bounds leave room for that.

    Raises:
        AnswerInvalid: it holds more than any honest answer.
    """
    for what, most, number in (
        ("lists and objects", MOST_CONTAINERS, body.count(b"[") + body.count(b"{")),
        ("values", MOST_VALUES, body.count(b",")),
    ):
        if number > most:
            raise AnswerInvalid(f"{name}: the answer holds {number} {what}, and no answer of the API over {most}.")


def rows_parsed(answer: Any, decoded: Any) -> Any:
    """The decoded answer with its rows turned into models already, one by one, where its type has rows.

    A row that is refused stays as it is, so that parsing the whole tells what is wrong with it, and where.

    Raises:
        AnswerInvalid: so many rows are refused that telling of each would take more memory than the answer.
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
    parsed, refused = [], 0
    for row in rows:
        try:
            parsed.append(validate(row))
        except ValidationError:
            parsed.append(row)
            refused += 1
            if refused > _MOST_REFUSED:
                raise AnswerInvalid(
                    f"The answer has over {_MOST_REFUSED} rows that are no {row_type.__name__}."
                ) from None
    return parsed


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
