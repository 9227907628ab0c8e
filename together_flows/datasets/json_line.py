"""Reads one line of JSON strictly, and says in plain words why it cannot be read.

This is the slow and exact reader. It runs on lines that a quick typed check did not accept, and on the first lines of
every file.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final

import msgspec

from together_flows.datasets.report import LineProblems, inside, kind_of, shortened

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a line can raise: no JSON or not the wanted shape, no UTF-8, nested too deeply."""

_decode: Final = msgspec.json.Decoder().decode


class _RepeatedKeys(dict[str, Any]):
    """A JSON object in which some key appears more than once."""

    keys_repeated: tuple[str, ...] = ()


def read_object(line: bytes, problems: LineProblems) -> dict[str, Any] | None:
    """Decode a line that must hold one JSON object; note what is wrong otherwise."""
    try:
        value = _decode(line)
    except UNREADABLE as error:
        _explain(line, error, problems)
        return None
    if not isinstance(value, dict):
        mend = "Write each element on a line of its own." if isinstance(value, list) else "Write one object a line."
        problems.add("", f"The line holds {kind_of(value)} where an object belongs.", mend)
        return None
    _note_repeated_keys(line, problems)
    return value


def _explain(line: bytes, error: Exception, problems: LineProblems) -> None:
    if isinstance(error, UnicodeDecodeError) or not _is_utf8(line):
        problems.add("", "The line is not UTF-8 text.", "Save the file in the encoding UTF-8.")
    elif isinstance(error, RecursionError):
        problems.add("", "The JSON is nested too deeply.", "Flatten the value.")
    elif "\x00" in (text := line.decode()):
        problems.add("", "The line holds zero bytes.", "Save the file as UTF-8 text, not as UTF-16 or binary.")
    elif isinstance(error, msgspec.ValidationError):
        problems.add("", "A number is too large to be read.", "Write it smaller, or as a string.")
    elif "truncated" in str(error):
        problems.add("", "The JSON ends in the middle of a value.", "Write each object completely, on one line.")
    elif "trailing characters" in str(error):
        problems.add("", "Something follows the JSON value on this line.", "Write one object a line and nothing else.")
    else:
        problems.add(
            "", f"This is not JSON: {_reason(error)}; it begins {shortened(text.strip())}", "Correct the line."
        )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _reason(error: Exception) -> str:
    return str(error).removeprefix("JSON is malformed: ")


def _note_repeated_keys(line: bytes, problems: LineProblems) -> None:
    # The typed decoder keeps the last of two equal keys and cannot tell. The numbers are of no interest here.
    repeated: list[_RepeatedKeys] = []

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        plain = dict(pairs)
        if len(plain) == len(pairs):
            return plain
        counts = Counter(key for key, _ in pairs)
        marked = _RepeatedKeys(plain)
        marked.keys_repeated = tuple(key for key in plain if counts[key] > 1)
        repeated.append(marked)
        return marked

    try:
        value = json.loads(line.decode(), object_pairs_hook=build, parse_int=len, parse_float=len)
        if repeated:
            _note_places(value, "", problems)
    except RecursionError:
        problems.add("", "The JSON is nested too deeply.", "Flatten the value.")


def _note_places(value: object, place: str, problems: LineProblems) -> None:
    if isinstance(value, _RepeatedKeys):
        for key in value.keys_repeated:
            problems.add(inside(place, key), "The key appears more than once in its object.", "Keep one of them.")
    if isinstance(value, dict):
        for key, member in value.items():
            _note_places(member, inside(place, key), problems)
    elif isinstance(value, list):
        for position, member in enumerate(value):
            _note_places(member, f"{place}[{position}]", problems)
