"""The rules of chat messages, exactly and in words. Training data and batch requests share them.

Sources: the request schema of the chat completions endpoint, and for training the checks of Together's SDK 1.5 and the
documentation of its data formats.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from together_flows.datasets.lines import MAX_IMAGE_CHARACTERS, MAX_IMAGES
from together_flows.datasets.report import LineProblems, inside, kind_of, shown
from together_flows.datasets.tokens import utf8_length

TRAINING_ROLES = ("system", "user", "assistant", "tool")
REQUEST_ROLES = (*TRAINING_ROLES, "function")

_EMBEDDED_IMAGE = re.compile(r"data:image/(jpeg|png|webp);base64,")


@dataclass(slots=True)
class TextSize:
    """How much text was seen: bytes of UTF-8, and chat messages."""

    text_bytes: int = 0
    messages: int = 0


def check_messages(
    value: object, place: str, roles: tuple[str, ...], problems: LineProblems, size: TextSize
) -> list[dict[str, Any]]:
    """Check that a value is a non-empty list of messages with a role and content; return those that are objects."""
    if not isinstance(value, list):
        problems.add(place, f"This is {kind_of(value)}, not a list.", "Give a list of messages.")
        return []
    if not value:
        problems.add(place, "The list is empty.", "Give at least one message.")
    messages = []
    for position, message in enumerate(value):
        here = f"{place}[{position}]"
        if not isinstance(message, dict):
            problems.add(
                here, f"This is {kind_of(message)}, not a message.", 'Give an object with "role" and "content".'
            )
            continue
        _check_role(message, here, roles, problems)
        _check_content(message, here, problems, size)
        messages.append(message)
    size.messages += len(messages)
    return messages


def _check_role(message: dict[str, Any], place: str, roles: tuple[str, ...], problems: LineProblems) -> None:
    mend = f"Use one of {', '.join(roles)}."
    if "role" not in message:
        problems.add(place, 'The message has no "role".', mend)
    elif message["role"] not in roles:
        problems.add(inside(place, "role"), f"{shown(message['role'])} is not a role.", mend)


def _check_content(message: dict[str, Any], place: str, problems: LineProblems, size: TextSize) -> None:
    content = message.get("content")
    if isinstance(content, str):
        size.text_bytes += utf8_length(content)
    elif isinstance(content, list):
        _check_parts(content, inside(place, "content"), problems, size)
    elif content is not None:
        mend = "Give a string, or a list of parts."
        problems.add(inside(place, "content"), f"This is {kind_of(content)}, not text.", mend)
    elif not _is_tool_call(message):
        problems.add(place, 'The message has no "content".', "Give its text.")
    reasoning = message.get("reasoning")
    if isinstance(reasoning, str):
        size.text_bytes += utf8_length(reasoning)
    _check_tool_calls(message, place, problems)


def _is_tool_call(message: dict[str, Any]) -> bool:
    return message.get("role") == "assistant" and bool(message.get("tool_calls") or message.get("function_call"))


def _check_tool_calls(message: dict[str, Any], place: str, problems: LineProblems) -> None:
    calls = message.get("tool_calls")
    if calls is not None and not is_list_of_objects(calls):
        problems.add(inside(place, "tool_calls"), "This is not a list of objects.", "Give a list of tool calls.")


def _check_parts(parts: list[Any], place: str, problems: LineProblems, size: TextSize) -> None:
    if not parts:
        problems.add(place, "The list of parts is empty.", "Give at least one part.")
    for position, part in enumerate(parts):
        here = f"{place}[{position}]"
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            problems.add(here, "This is not a part of a message.", 'Give an object with a "type", such as "text".')
        elif part["type"] == "text":
            if isinstance(part.get("text"), str):
                size.text_bytes += utf8_length(part["text"])
            else:
                problems.add(here, 'The part of type "text" holds no text.', 'Give a string under "text".')
        elif part["type"] == "image_url" and image_url(part) is None:
            problems.add(here, "The part holds no image.", 'Give {"image_url": {"url": "…"}}.')


def image_url(part: object) -> str | None:
    """The URL in a content part that is an image; `None` in any other."""
    if not isinstance(part, dict) or part.get("type") != "image_url":
        return None
    holder = part.get("image_url")
    url = holder.get("url") if isinstance(holder, dict) else None
    return url if isinstance(url, str) else None


def is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(member, dict) for member in value)


def check_turns(messages: list[dict[str, Any]], place: str, problems: LineProblems) -> None:
    """Check what training asks of a conversation beyond the shape of its messages: turns, weights and images."""
    previous: object = None
    for position, message in enumerate(messages):
        here = f"{place}[{position}]"
        role = message.get("role")
        if role == previous and role in TRAINING_ROLES:
            mend = "Let roles alternate: join the two messages, or put the missing turn between them."
            problems.add(inside(here, "role"), f'Two messages in a row are by "{role}".', mend)
        previous = role
        _check_weight(message, here, problems)
    _check_images(messages, place, problems)


def _check_weight(message: dict[str, Any], place: str, problems: LineProblems) -> None:
    if "weight" not in message:
        return
    weight = message["weight"]
    if not (isinstance(weight, int) and not isinstance(weight, bool) and weight in (0, 1)):
        mend = "Use 1 to train on the message and 0 to leave it out."
        problems.add(inside(place, "weight"), f"{shown(weight)} is not a weight.", mend)


def _check_images(messages: list[dict[str, Any]], place: str, problems: LineProblems) -> None:
    if not any(isinstance(message.get("content"), list) for message in messages):
        return
    if any(isinstance(message.get("content"), str) for message in messages):
        mend = 'Write every text of this sample as [{"type": "text", "text": "…"}].'
        problems.add(place, "The sample mixes messages of plain text with messages of parts.", mend)
    count = 0
    for position, message in enumerate(messages):
        parts = message.get("content")
        for number, part in enumerate(parts if isinstance(parts, list) else ()):
            url = image_url(part)
            if url is not None:
                count += 1
                here = f"{place}[{position}].content[{number}]"
                _check_image(url, message.get("role"), here, problems)
    if count > MAX_IMAGES:
        problems.add(place, f"The sample has {count} images.", f"Use at most {MAX_IMAGES} images in a sample.")


def _check_image(url: str, role: object, place: str, problems: LineProblems) -> None:
    if role != "user":
        problems.add(place, f"An image stands in a message by {shown(role)}.", 'Put images into messages by "user".')
    if not _EMBEDDED_IMAGE.match(url):
        mend = "Embed the image: data:image/png;base64,… (or jpeg, or webp)."
        problems.add(place, f"{shown(url)} is not an embedded image.", mend)
    elif len(url) > MAX_IMAGE_CHARACTERS:
        problems.add(place, "The image is larger than 10 MiB.", "Make it smaller.")
