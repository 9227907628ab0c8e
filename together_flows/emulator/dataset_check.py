"""What the service checks in an uploaded file: its format by purpose, line by line, in constant memory.

The rules are those that the official SDK once checked on the client and that moved to the server: one format a file,
no unknown columns, roles that alternate, at least one answer to learn from.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from together_flows.emulator.tokens import count_tokens

__all__ = ["Line", "Report", "check_file", "read_lines"]

MAX_LINE_BYTES = 64 * 2**20
"""The longest line that is read; it bounds the memory that a check can take."""

EXACT_BYTES = 16 * 2**20
"""Tokens are counted exactly up to here and by the same ratio beyond, so that a file of gigabytes is checked soon."""

_REST_BYTES = 64 * 2**10

_ROLES = {"system", "user", "assistant", "tool"}
_MESSAGE_KEYS = {"role", "content", "weight", "tool_calls", "tool_call_id", "name", "reasoning", "reasoning_content"}


class Report(msgspec.Struct, kw_only=True):
    """What was found.

    Attributes:
        error: what is wrong with the first bad line; empty for a valid file.
        format: the dataset format, such as "messages".
        nlines: lines that are not blank.
        tokens: tokens in everything a model would read or learn.
    """

    error: str = ""
    format: str = ""
    nlines: int = 0
    tokens: int = 0
    has_tools: bool = False
    has_reasoning: bool = False
    has_images: bool = False

    def view(self) -> dict[str, Any]:
        """The report as the API shows it."""
        return {
            "valid": not self.error,
            "error_type": "INVALID_FORMAT" if self.error else None,
            "error": self.error or None,
            "dataset_format": self.format or None,
            "nlines": self.nlines,
            "dataset_has_tools": self.has_tools,
            "dataset_has_reasoning": self.has_reasoning,
            "dataset_has_multimodal": self.has_images,
        }


class _BadLine(Exception):
    """A line breaks a rule."""


def check_file(path: Path, *, purpose: str, file_type: str) -> Report:
    """Checks a whole file against the rules of its purpose."""
    report = Report()
    try:
        if file_type == "parquet":
            raise _BadLine("Parquet files are not read by the emulator. Upload jsonl, or use the real service.")
        if file_type == "csv":
            _check_csv(path, purpose, report)
        else:
            _check_jsonl(path, purpose, report)
        if not report.nlines:
            raise _BadLine("The file has no samples.")
    except _BadLine as error:
        report.error = str(error)
    except UnicodeDecodeError as error:
        report.error = f"Line {report.nlines + 1}: the file is not valid UTF-8: {error.reason}."
    return report


class Line(NamedTuple):
    """A line of a file.

    Attributes:
        number: counted from 1, blank lines included.
        offset: where it begins, in bytes.
    """

    number: int
    offset: int
    content: bytes


def read_lines(path: Path) -> Iterator[Line]:
    """Every line that is not blank.

    Raises:
        ValueError: a line is longer than the emulator reads.
    """
    with path.open("rb") as file:
        number = offset = rested_at = 0
        while content := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(content) > MAX_LINE_BYTES:
                raise ValueError(f"Line {number}: longer than {MAX_LINE_BYTES} bytes.")
            if not content.isspace():
                yield Line(number, offset, content)
            offset += len(content)
            if offset - rested_at > _REST_BYTES:
                time.sleep(0)  # lets the event loop have the interpreter, so that requests are answered meanwhile
                rested_at = offset


def _check_jsonl(path: Path, purpose: str, report: Report) -> None:
    check_row = _ROW_CHECKS.get(purpose, _any_object)
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    read = counted = 0
    try:
        for line in read_lines(path):
            read += len(line.content)
            try:
                texts = check_row(decode(line.content), report)
            except _BadLine as error:
                raise _BadLine(f"Line {line.number}: {error}") from None
            except msgspec.MsgspecError as error:
                raise _BadLine(f"Line {line.number}: not a valid JSON object: {error}") from None
            report.nlines += 1
            if read <= EXACT_BYTES:
                counted = read
                report.tokens += sum(map(count_tokens, texts))
    except ValueError as error:
        raise _BadLine(str(error)) from None
    if read > counted > 0:
        report.tokens = report.tokens * read // counted


def _check_csv(path: Path, purpose: str, report: Report) -> None:
    if purpose != "eval":
        raise _BadLine(f"csv is allowed for purpose eval only, not for {purpose}.")
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        header = next(rows, None)
        if not header or not all(header):
            raise _BadLine("Line 1: the header is missing or has an empty name.")
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise _BadLine(f"Line {rows.line_num}: {len(row)} cells, but the header has {len(header)}.")
            report.nlines += 1
            report.tokens += sum(map(count_tokens, row))
    report.format = "csv"


def _any_object(row: dict[str, Any], report: Report) -> list[str]:
    report.format = "jsonl"
    return [value for value in row.values() if isinstance(value, str)]


def _batch_row(row: dict[str, Any], report: Report) -> list[str]:
    report.format = "batch"
    return []


def _eval_row(row: dict[str, Any], report: Report) -> list[str]:
    if not row:
        raise _BadLine("the object is empty.")
    return _any_object(row, report)


def _training_row(row: dict[str, Any], report: Report) -> list[str]:
    keys = frozenset(row) - {"weight"}
    name = next((name for name, allowed in _FORMATS.items() if keys in allowed), None)
    if name is None:
        raise _BadLine(
            f"columns {sorted(row)} are no training format; allowed are text, messages (and tools), "
            "prompt with completion, or input with preferred_output and non_preferred_output."
        )
    if report.format and report.format != name:
        raise _BadLine(f"format {name}, but the lines before it have format {report.format}.")
    if not _is_weight(row.get("weight", 1.0)):
        raise _BadLine("weight must be a number of at least 0.")
    report.format = name
    return _TRAINING_CHECKS[name](row, report)


def _text_row(row: dict[str, Any], report: Report) -> list[str]:
    return [_string(row["text"], "text")]


def _conversation_row(row: dict[str, Any], report: Report) -> list[str]:
    report.has_tools = report.has_tools or bool(row.get("tools"))
    return _messages(row["messages"], report, needs_assistant=True)


def _instruction_row(row: dict[str, Any], report: Report) -> list[str]:
    texts = []
    for key in ("prompt", "completion"):
        value = row[key]
        texts += _messages(value, report) if isinstance(value, list) else [_string(value, key)]
    return texts


def _preference_row(row: dict[str, Any], report: Report) -> list[str]:
    asked = row["input"]
    if not isinstance(asked, dict) or "messages" not in asked:
        raise _BadLine("input must be an object with messages.")
    texts = _messages(asked["messages"], report)
    if asked["messages"][-1]["role"] == "assistant":
        raise _BadLine("input.messages must not end with an assistant message.")
    for key in ("preferred_output", "non_preferred_output"):
        output = row[key]
        if not isinstance(output, list) or len(output) != 1:
            raise _BadLine(f"{key} must be a list of exactly one assistant message.")
        texts += _messages(output, report, needs_assistant=True)
    return texts


def _messages(messages: Any, report: Report, *, needs_assistant: bool = False) -> list[str]:
    if not isinstance(messages, list) or not messages:
        raise _BadLine("messages must be a list that is not empty.")
    texts: list[str] = []
    before = ""
    for message in messages:
        role = _role(message)
        if role == before and role != "tool":
            raise _BadLine(f"two {role} messages in a row.")
        before = role
        report.has_reasoning = report.has_reasoning or "reasoning" in message or "reasoning_content" in message
        report.has_tools = report.has_tools or "tool_calls" in message
        texts += _content(message, report)
    if needs_assistant and not any(message["role"] == "assistant" for message in messages):
        raise _BadLine("there is no assistant message to learn from.")
    return texts


def _role(message: Any) -> str:
    if not isinstance(message, dict):
        raise _BadLine("each message must be an object.")
    unknown = set(message) - _MESSAGE_KEYS
    if unknown:
        raise _BadLine(f"a message has unknown columns {sorted(unknown)}.")
    role = message.get("role")
    if role not in _ROLES:
        raise _BadLine(f"role must be one of {', '.join(sorted(_ROLES))}, got {role!r}.")
    if message.get("weight", 1) not in (0, 1):
        raise _BadLine("a message's weight must be 0 or 1.")
    return str(role)


def _content(message: dict[str, Any], report: Report) -> list[str]:
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    if content is None and message.get("tool_calls"):
        return []
    if not isinstance(content, list):
        raise _BadLine("a message's content must be a string or a list of parts.")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            texts.append(_string(part.get("text"), "text"))
        elif kind == "image_url" and message["role"] == "user":
            report.has_images = True
        else:
            raise _BadLine(f"a content part of type {kind!r} is not allowed here.")
    return texts


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _BadLine(f"{name} must be a string.")
    return value


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


_FORMATS: dict[str, set[frozenset[str]]] = {
    "text": {frozenset({"text"})},
    "messages": {frozenset({"messages"}), frozenset({"messages", "tools"})},
    "instruction": {frozenset({"prompt", "completion"})},
    "preference": {frozenset({"input", "preferred_output", "non_preferred_output"})},
}

_TRAINING_CHECKS: dict[str, Callable[[dict[str, Any], Report], list[str]]] = {
    "text": _text_row,
    "messages": _conversation_row,
    "instruction": _instruction_row,
    "preference": _preference_row,
}

_ROW_CHECKS: dict[str, Callable[[dict[str, Any], Report], list[str]]] = {
    "fine-tune": _training_row,
    "eval": _eval_row,
    "batch-api": _batch_row,
}
