"""Turns what a caller has, such as prompts, chats or whole requests, into request lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from together_flows.datasets.batch_lines import CHAT_ENDPOINT, Request, RequestRules
from together_flows.datasets.json_line import UNREADABLE
from together_flows.datasets.report import LineProblems, kind_of
from together_flows.errors import ArgumentInvalid

_FOREIGN_COLUMNS = frozenset({"method", "url"})
"""Columns of OpenAI's batch lines. Together chooses the endpoint when the batch is created, and has no use for them."""

_NOT_ENCODABLE = (TypeError, ValueError, OverflowError, RecursionError)

_encode: Final = msgspec.json.Encoder().encode


class RequestLine(msgspec.Struct, gc=False):
    """One line of a batch, ready to be written, and what its row held besides."""

    line: bytes
    request: Request
    columns: dict[str, Any] | None = None


class RequestTemplate:
    """Fills in what the rows leave out, and checks what comes of it. What a row says itself always wins.

    Args:
        endpoint: what the batch calls.
        model: the model for requests that name none.
        system: the system message for chats that begin with none.
        defaults: members of the body, such as `max_tokens`, for requests that do not set them.
    """

    def __init__(
        self,
        *,
        endpoint: str = CHAT_ENDPOINT,
        model: str | None = None,
        system: str | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        if system is not None and endpoint != CHAT_ENDPOINT:
            raise ArgumentInvalid(
                f"system: {endpoint} takes no messages.", mend=f"Leave it out, or use {CHAT_ENDPOINT}."
            )
        self._rules = RequestRules(endpoint)
        self._system = system
        self._filling = ({"model": model} if model is not None else {}) | dict(defaults or {})
        self._fills_nothing = system is None and not defaults

    def keep(self, line: bytes) -> RequestLine | None:
        """A line that is complete as it stands; `None` when it has to be read as a row."""
        if not self._fills_nothing:
            return None
        try:
            request = self._rules.accept(line)
        except UNREADABLE:
            return None
        return None if request is None else RequestLine(line.strip(), request)

    def fill(self, row: object, own_id: str, problems: LineProblems) -> RequestLine | None:
        """The line for a row; `None` after noting why there is none.

        Args:
            row: a prompt as a string, or a mapping: a whole request with a `body`, a body with `messages`, or a
                `prompt` beside other columns.
            own_id: the `custom_id` for a row that brings none.
            problems: where to note what is wrong with it.
        """
        content = self._content(row, problems)
        if content is None:
            return None
        custom_id, body, columns = content
        value = {"custom_id": own_id if custom_id is None else custom_id, "body": self._filled(body)}
        try:
            line = _encode(value)
            _encode(columns)
        except _NOT_ENCODABLE as error:
            problems.add("", f"The row cannot be written as JSON: {error}.", "Use text, numbers, lists and mappings.")
            return None
        request = self._rules.read(line, problems)
        return None if request is None else RequestLine(line, request, columns or None)

    def _content(self, row: object, problems: LineProblems) -> tuple[Any, dict[str, Any], dict[str, Any]] | None:
        """A row taken apart: its id or `None`, its body, and the columns that are not sent."""
        if isinstance(row, str):
            row = {"prompt": row}
        if not isinstance(row, Mapping):
            problems.add("", f"The row is {kind_of(row)}.", "Give a prompt as a string, or a mapping.")
            return None
        members = dict(row)
        custom_id = members.pop("custom_id", None)
        if "body" in members:
            return self._whole_request(custom_id, members, problems)
        if "messages" in members:
            return custom_id, members, {}
        if "prompt" in members:
            return self._prompt(custom_id, members, problems)
        mend = 'Give "prompt", or "messages", or a whole request under "body".'
        problems.add("", "The row holds no request.", mend)
        return None

    def _whole_request(
        self, custom_id: Any, members: dict[str, Any], problems: LineProblems
    ) -> tuple[Any, dict[str, Any], dict[str, Any]] | None:
        body = members.pop("body")
        if not isinstance(body, Mapping):
            problems.add("body", f"This is {kind_of(body)}, not an object.", 'Give {"messages": […]}.')
            return None
        return custom_id, dict(body), {name: cell for name, cell in members.items() if name not in _FOREIGN_COLUMNS}

    def _prompt(
        self, custom_id: Any, members: dict[str, Any], problems: LineProblems
    ) -> tuple[Any, dict[str, Any], dict[str, Any]] | None:
        prompt = members.pop("prompt")
        if not self._rules.is_chat:
            problems.add("prompt", "A prompt cannot be turned into a request here.", 'Give the request under "body".')
        elif not isinstance(prompt, str):
            problems.add("prompt", f"This is {kind_of(prompt)}, not text.", "Give a string.")
        elif not prompt.strip():
            problems.add("prompt", "The prompt is empty.", "Give a text, or leave the row out.")
        else:
            return custom_id, {"messages": [{"role": "user", "content": prompt}]}, members
        return None

    def _filled(self, body: dict[str, Any]) -> dict[str, Any]:
        filled = self._filling | body
        messages = filled.get("messages")
        if self._system is not None and isinstance(messages, list) and not _begins_with_system(messages):
            filled["messages"] = [{"role": "system", "content": self._system}, *messages]
        return filled


def _begins_with_system(messages: list[Any]) -> bool:
    return bool(messages) and isinstance(messages[0], Mapping) and messages[0].get("role") == "system"
