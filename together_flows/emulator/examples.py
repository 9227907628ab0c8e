"""Training examples read from an uploaded file, whatever its format: what is asked, and what is to be answered."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from together_flows.emulator.dataset_check import read_lines

__all__ = ["MAX_EXAMPLES", "Example", "asked", "read_examples", "text_of"]

MAX_EXAMPLES = 50_000
"""How many examples of a file a tuned model learns by heart; it bounds the model's memory."""


class Example(msgspec.Struct, frozen=True, array_like=True):
    """One thing to learn."""

    prompt: str
    completion: str


def read_examples(path: Path, limit: int = MAX_EXAMPLES) -> list[Example]:
    """The examples of a file that was checked, in its order."""
    return list(islice(_examples(path), limit))


def asked(messages: list[dict[str, Any]]) -> str:
    """What a conversation asks for: the last thing the user says, or the last thing said at all."""
    said = [text_of(message) for message in messages if message.get("role") == "user"]
    return said[-1] if said else text_of(messages[-1]) if messages else ""


def text_of(message: dict[str, Any]) -> str:
    """The text of a message, whose content is a string or a list of parts."""
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _examples(path: Path) -> Iterator[Example]:
    for line in read_lines(path):
        row = msgspec.json.decode(line.content)
        if "messages" in row:
            yield from _turns(row["messages"])
        elif "completion" in row:
            yield Example(_side(row["prompt"]), _side(row["completion"]))
        elif "preferred_output" in row:
            yield Example(asked(row["input"]["messages"]), text_of(row["preferred_output"][0]))
        else:
            yield Example(row["text"][:200], row["text"])


def _turns(messages: list[dict[str, Any]]) -> Iterator[Example]:
    for position, message in enumerate(messages):
        if message["role"] == "assistant" and message.get("weight", 1) == 1:
            yield Example(asked(messages[:position]), text_of(message))


def _side(value: Any) -> str:
    return asked(value) if isinstance(value, list) else str(value)
