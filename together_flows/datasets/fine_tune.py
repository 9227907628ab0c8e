"""The four formats of training data, one format a file.

| format | columns |
|---|---|
| conversation | `messages`, and `tools` |
| instruction | `prompt`, `completion` |
| preference | `input` (with `messages`, and `tools`), `preferred_output`, `non_preferred_output` |
| text | `text` |

Each may have a `weight` besides. Sources: the checks of Together's SDK 1.5 and the documentation of the data formats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta, Raw, Struct

from together_flows.datasets.checker import LineChecker, is_utf8
from together_flows.datasets.messages import (
    TRAINING_ROLES,
    TextSize,
    check_messages,
    check_turns,
    is_list_of_objects,
)
from together_flows.datasets.report import LineProblems, ProblemLog, inside, kind_of, shortened, shown
from together_flows.datasets.tokens import utf8_length

Format = Literal["conversation", "instruction", "preference", "text"]

REQUIRED_COLUMNS: Final[dict[Format, tuple[str, ...]]] = {
    "conversation": ("messages",),
    "instruction": ("prompt", "completion"),
    "preference": ("input", "preferred_output", "non_preferred_output"),
    "text": ("text",),
}
OPTIONAL_COLUMNS: Final[dict[Format, tuple[str, ...]]] = {
    "conversation": ("tools", "weight"),
    "instruction": ("weight",),
    "preference": ("weight",),
    "text": ("weight",),
}

_FORMATS_IN_WORDS = (
    '"messages"; "prompt" and "completion"; "input", "preferred_output" and "non_preferred_output"; "text"'
)


class FineTuneChecker(LineChecker):
    """Checks a JSONL file of training data. The first line whose format can be told decides for the file."""

    def __init__(self, log: ProblemLog, wanted: Format | None = None) -> None:
        super().__init__(log)
        self.format = wanted or ""
        self._demanded = wanted is not None

    def _accepts(self, number: int, line: bytes) -> bool:
        accept = _QUICK.get(self.format)
        return accept is not None and accept(line, self.size)

    def _check_object(self, number: int, value: dict[str, Any], problems: LineProblems) -> None:
        row_format = self._format_of(value, problems)
        if row_format is None:
            return
        _check_columns(value, row_format, problems)
        _EXACT[row_format](value, problems, self.size)

    def _format_of(self, value: dict[str, Any], problems: LineProblems) -> Format | None:
        fitting = [name for name, columns in REQUIRED_COLUMNS.items() if all(column in value for column in columns)]
        if self.format in fitting:
            return self.format
        if self.format and fitting:
            owner = "asked for is" if self._demanded else "of the file is"
            message = f"The line is in the format {' and '.join(fitting)}; the format {owner} {self.format}."
            problems.add("", message, "Keep one format a file.")
        elif self.format:
            for column in REQUIRED_COLUMNS[cast("Format", self.format)]:
                if column not in value:
                    problems.add(column, "The column is missing.", f"Every line of the format {self.format} has it.")
        elif len(fitting) == 1:
            self.format = fitting[0]
            return fitting[0]
        elif fitting:
            mend = f"Keep the columns of one: {_FORMATS_IN_WORDS}."
            problems.add("", f"The line mixes the formats {' and '.join(fitting)}.", mend)
        else:
            message = f"The columns {shown(list(value))} make up no format."
            problems.add("", message, f"Use the columns of one: {_FORMATS_IN_WORDS}.")
        return None


def _check_columns(value: dict[str, Any], row_format: Format, problems: LineProblems) -> None:
    known = REQUIRED_COLUMNS[row_format] + OPTIONAL_COLUMNS[row_format]
    for column in value:
        if column not in known:
            mend = f"Remove it: the columns are {', '.join(known)}."
            problems.add(shortened(column), f"The format {row_format} has no such column.", mend)
    weight = value.get("weight", 1)
    if not isinstance(weight, (int, float)) or isinstance(weight, bool) or weight < 0:
        problems.add("weight", f"{shown(weight)} is not a weight.", "Give a number from 0 up.")


def _check_conversation(value: dict[str, Any], problems: LineProblems, size: TextSize) -> None:
    messages = check_messages(value["messages"], "messages", TRAINING_ROLES, problems, size)
    check_turns(messages, "messages", problems)
    if messages and not any(message.get("role") == "assistant" for message in messages):
        problems.add("messages", 'No message is by "assistant".', "Add the answer that the model shall learn.")
    _check_tools(value, "", problems)


def _check_texts(value: dict[str, Any], columns: tuple[str, ...], problems: LineProblems, size: TextSize) -> None:
    for column in columns:
        text = value[column]
        if isinstance(text, str):
            size.text_bytes += utf8_length(text)
        else:
            problems.add(column, f"This is {kind_of(text)}, not text.", "Give a string.")


def _check_instruction(value: dict[str, Any], problems: LineProblems, size: TextSize) -> None:
    _check_texts(value, REQUIRED_COLUMNS["instruction"], problems, size)


def _check_text(value: dict[str, Any], problems: LineProblems, size: TextSize) -> None:
    _check_texts(value, REQUIRED_COLUMNS["text"], problems, size)


def _check_preference(value: dict[str, Any], problems: LineProblems, size: TextSize) -> None:
    context = value["input"]
    if not isinstance(context, dict) or "messages" not in context:
        problems.add("input", 'There are no "messages" in it.', 'Give {"messages": […]}.')
    else:
        messages = check_messages(context["messages"], "input.messages", TRAINING_ROLES, problems, size)
        check_turns(messages, "input.messages", problems)
        if messages and messages[-1] is context["messages"][-1] and messages[-1].get("role") == "assistant":
            place = f"input.messages[{len(context['messages']) - 1}].role"
            problems.add(place, 'The last message is by "assistant".', "End with the message that is to be answered.")
        _check_tools(context, "input", problems)
    for column in ("preferred_output", "non_preferred_output"):
        _check_output(value[column], column, problems, size)


def _check_output(value: object, column: str, problems: LineProblems, size: TextSize) -> None:
    messages = check_messages(value, column, TRAINING_ROLES, problems, size)
    check_turns(messages, column, problems)
    if isinstance(value, list) and len(value) > 1:
        problems.add(column, f"The list has {len(value)} messages.", 'Give exactly one, by "assistant".')
    for position, message in enumerate(messages):
        if message.get("role") in TRAINING_ROLES and message["role"] != "assistant":
            place = f"{column}[{position}].role"
            problems.add(place, f'The message is by "{message["role"]}".', 'An output is by "assistant".')


def _check_tools(holder: dict[str, Any], place: str, problems: LineProblems) -> None:
    tools = holder.get("tools")
    if tools is not None and not is_list_of_objects(tools):
        problems.add(inside(place, "tools"), "This is not a list of objects.", "Give a list of tool definitions.")


_EXACT: Final[dict[Format, Callable[[dict[str, Any], LineProblems, TextSize], None]]] = {
    "conversation": _check_conversation,
    "instruction": _check_instruction,
    "preference": _check_preference,
    "text": _check_text,
}


# The quick checks: each accepts a subset of what the exact rules above accept, and takes its size.

_Objects = list[dict[str, Raw]]
_Weight = Annotated[float, Meta(ge=0)]


class _Message(Struct, gc=False):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    reasoning: str | None = None
    tool_calls: _Objects | None = None
    weight: Literal[0, 1] = 1


class _Conversation(Struct, gc=False, forbid_unknown_fields=True):
    messages: Annotated[list[_Message], Meta(min_length=1)]
    tools: _Objects | None = None
    weight: _Weight = 1.0


class _Instruction(Struct, gc=False, forbid_unknown_fields=True):
    prompt: str
    completion: str
    weight: _Weight = 1.0


class _Text(Struct, gc=False, forbid_unknown_fields=True):
    text: str
    weight: _Weight = 1.0


class _Context(Struct, gc=False):
    messages: Annotated[list[_Message], Meta(min_length=1)]
    tools: _Objects | None = None


class _Preference(Struct, gc=False, forbid_unknown_fields=True):
    input: _Context
    preferred_output: Annotated[list[_Message], Meta(min_length=1, max_length=1)]
    non_preferred_output: Annotated[list[_Message], Meta(min_length=1, max_length=1)]
    weight: _Weight = 1.0


_read_conversation: Final = msgspec.json.Decoder(_Conversation).decode
_read_instruction: Final = msgspec.json.Decoder(_Instruction).decode
_read_text: Final = msgspec.json.Decoder(_Text).decode
_read_preference: Final = msgspec.json.Decoder(_Preference).decode


def _text_bytes(messages: list[_Message]) -> int | None:
    """The text in messages of which each has content and another role than the one before; `None` when in doubt."""
    text_bytes = 0
    previous = ""
    for message in messages:
        role = message.role
        content = message.content
        if role == previous:
            return None
        if content is not None:
            text_bytes += len(content) if content.isascii() else utf8_length(content)
        elif role != "assistant" or not message.tool_calls:
            return None
        if message.reasoning is not None:
            text_bytes += utf8_length(message.reasoning)
        previous = role
    return text_bytes


def _has_answer(messages: list[_Message]) -> bool:
    return messages[-1].role == "assistant" or any(message.role == "assistant" for message in messages)


def _accept_conversation(line: bytes, size: TextSize) -> bool:
    messages = _read_conversation(line).messages
    text_bytes = _text_bytes(messages)
    if text_bytes is None or not _has_answer(messages) or not is_utf8(line):
        return False
    size.text_bytes += text_bytes
    size.messages += len(messages)
    return True


def _accept_instruction(line: bytes, size: TextSize) -> bool:
    row = _read_instruction(line)
    size.text_bytes += utf8_length(row.prompt) + utf8_length(row.completion)
    return True


def _accept_text(line: bytes, size: TextSize) -> bool:
    size.text_bytes += utf8_length(_read_text(line).text)
    return True


def _accept_preference(line: bytes, size: TextSize) -> bool:
    row = _read_preference(line)
    context, preferred, other = row.input.messages, row.preferred_output, row.non_preferred_output
    if context[-1].role == "assistant" or preferred[0].role != "assistant" or other[0].role != "assistant":
        return False
    text_bytes = 0
    for messages in (context, preferred, other):
        measured = _text_bytes(messages)
        if measured is None:
            return False
        text_bytes += measured
    if not is_utf8(line):
        return False
    size.text_bytes += text_bytes
    size.messages += len(context) + 2
    return True


_QUICK: Final[dict[str, Callable[[bytes, TextSize], bool]]] = {
    "conversation": _accept_conversation,
    "instruction": _accept_instruction,
    "preference": _accept_preference,
    "text": _accept_text,
}
