"""The rules of a batch input file: one request a line, `{"custom_id": …, "body": {…}}`.

Source of the rules: Together's documentation of batch inference. `custom_id` is unique in its file and at most 64
characters long; the body is that of the endpoint which the batch calls; a file has at most 50,000 lines and 100 MB.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from together_flows.datasets.checker import LineChecker, is_utf8
from together_flows.datasets.json_line import UNREADABLE, read_object
from together_flows.datasets.messages import REQUEST_ROLES, TextSize, check_messages
from together_flows.datasets.report import LineProblems, ProblemLog, kind_of, shown
from together_flows.datasets.tokens import utf8_length

CHAT_ENDPOINT = "/v1/chat/completions"
MAX_REQUESTS = 50_000
MAX_FILE_BYTES = 100_000_000
MAX_ID_CHARACTERS = 64

_ID_MEND = f"Give each line a text of its own, of 1 to {MAX_ID_CHARACTERS} characters."


class Request(Struct, gc=False):
    """What is remembered of a good line."""

    custom_id: str
    model: str
    text_bytes: int
    messages: int


class RequestRules:
    """The rules of one line. They know nothing of the other lines: whoever reads a file minds the uniqueness.

    Args:
        endpoint: what the batch calls. The messages are checked only for chat completions; of any other body, only that
            it is an object with a model.
    """

    def __init__(self, endpoint: str = CHAT_ENDPOINT) -> None:
        self.is_chat = endpoint == CHAT_ENDPOINT

    def read(self, line: bytes, problems: LineProblems) -> Request | None:
        """The request on a line; `None` after noting what is wrong with it."""
        try:
            request = self.accept(line)
        except UNREADABLE:
            request = None
        if request is not None:
            return request
        value = read_object(line, problems)
        return None if value is None else self.check(value, problems)

    def accept(self, line: bytes) -> Request | None:
        """The request on a line that is certainly good; `None`, or one of `UNREADABLE`, for any other."""
        if not self.is_chat:
            plain = _read_any(line)
            return Request(plain.custom_id, plain.body.model, 0, 0) if is_utf8(line) else None
        chat = _read_chat(line)
        body = chat.body
        text_bytes = 0
        for message in body.messages:
            content = message.content
            if content is not None:
                text_bytes += len(content) if content.isascii() else utf8_length(content)
            elif message.role != "assistant" or not message.tool_calls:
                return None
        if line.isascii() or is_utf8(line):
            return Request(chat.custom_id, body.model, text_bytes, len(body.messages))
        return None

    def check(self, value: dict[str, Any], problems: LineProblems) -> Request | None:
        """Apply the exact rules to a line's object."""
        before = problems.found
        custom_id = _check_id(value, problems)
        model, size = self._check_body(value, problems)
        if problems.found > before:
            return None
        return Request(custom_id, model, size.text_bytes, size.messages)

    def _check_body(self, value: dict[str, Any], problems: LineProblems) -> tuple[str, TextSize]:
        size = TextSize()
        body = value.get("body")
        if not isinstance(body, dict):
            mend = 'Give the request as an object: {"model": …, "messages": […]}.'
            message = f"This is {kind_of(body)}, not an object." if "body" in value else "The line has no body."
            problems.add("body", message, mend)
            return "", size
        model = body.get("model")
        if not isinstance(model, str) or not model:
            message = f"{shown(model)} is not a model." if "model" in body else "The request names no model."
            problems.add("body.model", message, "Give the name of the model that shall answer.")
        if self.is_chat:
            if "messages" in body:
                check_messages(body["messages"], "body.messages", REQUEST_ROLES, problems, size)
            else:
                problems.add("body.messages", "The request has no messages.", "Give at least one message.")
        return str(model), size


def _check_id(value: dict[str, Any], problems: LineProblems) -> str:
    custom_id = value.get("custom_id")
    if "custom_id" not in value:
        problems.add("custom_id", "The line has no custom_id.", _ID_MEND)
    elif not isinstance(custom_id, str):
        problems.add("custom_id", f"This is {kind_of(custom_id)}, not a string.", _ID_MEND)
    elif not 1 <= len(custom_id) <= MAX_ID_CHARACTERS:
        problems.add("custom_id", f"It has {len(custom_id)} characters.", _ID_MEND)
    else:
        return custom_id
    return ""


def note_repeated_id(line: int, first_line: int, log: ProblemLog) -> None:
    log.add(line, "custom_id", f"The same custom_id is on line {first_line}.", _ID_MEND)


class BatchChecker(LineChecker):
    """Checks a batch input file that is to be sent as it is."""

    format = "batch"

    def __init__(self, log: ProblemLog, endpoint: str) -> None:
        super().__init__(log)
        self._rules = RequestRules(endpoint)
        self._line_of_id: dict[str, int] = {}

    def _accepts(self, number: int, line: bytes) -> bool:
        request = self._rules.accept(line)
        if request is None:
            return False
        self._take(number, request)
        return True

    def _check_object(self, number: int, value: dict[str, Any], problems: LineProblems) -> None:
        request = self._rules.check(value, problems)
        if request is not None:
            self._take(number, request)

    def _take(self, number: int, request: Request) -> None:
        self.size.text_bytes += request.text_bytes
        self.size.messages += request.messages
        self.models[request.model] = None
        if self.rows > MAX_REQUESTS:
            return  # the file is refused anyway: no need to hold more ids
        first_line = self._line_of_id.setdefault(request.custom_id, number)
        if first_line != number:
            note_repeated_id(number, first_line, self.log)

    def _finish(self) -> None:
        if self.rows > MAX_REQUESTS:
            message = f"The file holds {self.rows:,} requests; a batch takes {MAX_REQUESTS:,}."
            self.log.add(0, "", message, "Split it: BatchInput.from_file does.")


# The quick check: it accepts a subset of what the exact rules accept.


class _Message(Struct, gc=False):
    role: Literal["system", "user", "assistant", "tool", "function"]
    content: str | None = None
    reasoning: str | None = None
    tool_calls: list[dict[str, Raw]] | None = None


class _ChatBody(Struct, gc=False):
    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[_Message], Meta(min_length=1)]


class _AnyBody(Struct, gc=False):
    model: Annotated[str, Meta(min_length=1)]


_Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARACTERS)]


class _ChatLine(Struct, gc=False, forbid_unknown_fields=True):
    custom_id: _Id
    body: _ChatBody


class _AnyLine(Struct, gc=False, forbid_unknown_fields=True):
    custom_id: _Id
    body: _AnyBody


_read_chat: Final = msgspec.json.Decoder(_ChatLine).decode
_read_any: Final = msgspec.json.Decoder(_AnyLine).decode
