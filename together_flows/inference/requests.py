"""From a row to an operation: what the row says, the defaults for what it leaves out, and what is not sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from together_flows.api import OPERATIONS, Operation
from together_flows.errors import ArgumentInvalid
from together_flows.inference.rows import Row

__all__ = ["MAKES_MEDIA", "MODALITIES", "Asked", "RowTemplate"]


@dataclass(frozen=True)
class Modality:
    """How the rows of one operation are read.

    Attributes:
        text: the argument that a bare text, or a row's `prompt`, becomes.
        wrapped: what the text becomes there.
        presets: arguments for rows and defaults that leave them out.
    """

    text: str
    wrapped: Callable[[Any], Any] = lambda text: text
    presets: tuple[tuple[str, Any], ...] = ()


MODALITIES: Final[Mapping[str, Modality]] = {
    "chat.create": Modality("messages", lambda text: [{"role": "user", "content": text}]),
    "completions.create": Modality("prompt"),
    "embeddings.create": Modality("input"),
    "rerank.create": Modality("query"),
    # An address expires; the picture itself is what a pipeline wants to keep.
    "images.generate": Modality("prompt", presets=(("response_format", "base64"),)),
    "audio.create_speech": Modality("input"),
    "audio.create_transcription": Modality("file"),
    "audio.create_translation": Modality("file"),
    "videos.create": Modality("prompt"),
}
"""The operations that rows can be sent to."""

MAKES_MEDIA: Final = frozenset({"images.generate", "audio.create_speech", "videos.create"})
"""The operations whose answers go into files."""

_ENVELOPE = frozenset({"method", "url"})
"""Columns of batch lines that choose an endpoint. Here the operation is chosen for all rows."""

_digestible: Final = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Asked:
    """A row, ready to be sent.

    Attributes:
        index: the row's position, from 0.
        custom_id: the row's name in the output.
        digest: tells one request from another: equal for equal requests.
        arguments: of the operation.
        operation: what to send; `None` if the row is refused.
        problem: why it is refused.
        columns: what the row held besides.
        size: bytes that it takes, roughly.
    """

    index: int
    custom_id: str
    digest: int = 0
    arguments: Mapping[str, Any] | None = None
    operation: Operation[Any] | None = None
    problem: str = ""
    columns: Mapping[str, Any] | None = None
    size: int = 0


class RowTemplate:
    """Turns rows into operations. What a row says itself always wins.

    Args:
        operation: name of the operation, a key of `MODALITIES`.
        model: the model for rows that name none.
        system: the system message for chats that begin with none.
        defaults: further arguments, such as `max_tokens`, for rows that do not give them.

    Raises:
        ArgumentInvalid: rows cannot be sent to such an operation, or it has no such argument.
    """

    def __init__(
        self,
        operation: str,
        *,
        model: str | None = None,
        system: str | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        if operation not in MODALITIES:
            raise ArgumentInvalid(f"{operation!r} takes no rows.", mend=f"Use one of {', '.join(MODALITIES)}.")
        if system is not None and operation != "chat.create":
            raise ArgumentInvalid(f"system: {operation} takes no messages.", mend="Leave it out, or use chat.create.")
        self.operation = operation
        self._modality = MODALITIES[operation]
        self._entry = OPERATIONS[operation]
        self._system = system
        own = {} if model is None else {"model": model}
        self.filling = {**dict(self._modality.presets), **own, **(defaults or {})}
        for name in self.filling:
            self._check_name(name)

    def ask(self, row: Row) -> Asked:
        """The request of a row; one that cannot be sent says why."""
        own_id = f"row-{row.index:09d}"
        if row.problem:
            return Asked(row.index, own_id, problem=row.problem)
        try:
            custom_id, given, columns = self._parts(row.value)
            arguments = self._filled(given)
            asked = self._entry.function(**arguments)
        except ArgumentInvalid as error:
            return Asked(row.index, _id_in(row.value) or own_id, problem=str(error))
        return Asked(
            index=row.index,
            custom_id=custom_id or own_id,
            digest=_digest(self.operation, arguments),
            arguments=arguments,
            operation=asked.untyped() if asked.reply.value == "json" else asked,
            columns=columns or None,
            size=row.size,
        )

    def _parts(self, value: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """A row's id, if it brings one, the arguments in it, and what is not sent."""
        if isinstance(value, str):
            return "", {self._modality.text: self._wrapped(value)}, {}
        if not isinstance(value, Mapping):
            raise ArgumentInvalid("The row is neither a text nor a mapping.")
        members = {name: member for name, member in value.items() if name not in _ENVELOPE}
        custom_id = _id_in(members)
        members.pop("custom_id", None)
        if "body" in members:
            body = members.pop("body")
            if not isinstance(body, Mapping):
                raise ArgumentInvalid("The row's body is no mapping.", mend="Give the arguments as one.")
            return custom_id, dict(body), members
        if "prompt" in members and "prompt" not in self._entry.parameters and self._modality.text not in members:
            return custom_id, {self._modality.text: self._wrapped(members.pop("prompt"))}, members
        arguments = {name: members.pop(name) for name in list(members) if name in self._entry.parameters}
        return custom_id, arguments, members

    def _wrapped(self, text: Any) -> Any:
        if not isinstance(text, str) or not text.strip():
            raise ArgumentInvalid("The row's text is empty, or no text.", mend="Give one, or leave the row out.")
        return self._modality.wrapped(text)

    def _filled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        filled = {**self.filling, **{name: value for name, value in given.items() if value is not None}}
        if filled.get("stream"):
            raise ArgumentInvalid("A row's answer cannot be streamed.", mend="Leave out stream.")
        messages = filled.get("messages")
        if self._system is not None and isinstance(messages, list) and not _begins_with_system(messages):
            filled["messages"] = [{"role": "system", "content": self._system}, *messages]
        return filled

    def _check_name(self, name: str) -> None:
        if name in self._entry.parameters and name != "stream":
            return
        close = get_close_matches(name, self._entry.parameters, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"It takes {', '.join(self._entry.parameters)}."
        raise ArgumentInvalid(f"{self.operation} takes no {name!r} for all rows.", mend=hint)


def _id_in(value: Any) -> str:
    given = value.get("custom_id") if isinstance(value, Mapping) else None
    return "" if given in (None, "") else str(given)


def _begins_with_system(messages: list[Any]) -> bool:
    return bool(messages) and isinstance(messages[0], Mapping) and messages[0].get("role") == "system"


def _digest(operation: str, arguments: Mapping[str, Any]) -> int:
    content = _digestible([operation, arguments])
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
