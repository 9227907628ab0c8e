"""Chat and text completion: from a request's body to an answer's, for single requests and for lines of a batch."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from together_flows.emulator.examples import asked, text_of
from together_flows.emulator.minds import Mind
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.serving import Served
from together_flows.emulator.structured import as_json, instance
from together_flows.emulator.tokens import count_tokens, split_tokens
from together_flows.emulator.world import World

__all__ = [
    "ChatRequest",
    "Completion",
    "CompletionRequest",
    "chat",
    "chat_body",
    "complete",
    "completion_body",
    "pieces",
    "read_body",
]

MAX_CHOICES = 128
TOKENS_PER_MESSAGE = 4
"""What a chat template adds around each message."""


class _Sampling(msgspec.Struct, kw_only=True):
    model: str
    max_tokens: int | None = None
    stop: list[str] | str = msgspec.field(default_factory=list)
    temperature: float = 0.7
    n: int = 1
    stream: bool = False
    echo: bool = False
    seed: int | None = None
    context_length_exceeded_behavior: str = "error"


B = TypeVar("B", bound=_Sampling)


class ChatRequest(_Sampling, kw_only=True):
    """The body of a chat completion; what it does not name is accepted and ignored."""

    messages: list[dict[str, Any]]
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] = msgspec.field(default_factory=list)
    tool_choice: str | dict[str, Any] = "auto"


class CompletionRequest(_Sampling, kw_only=True):
    """The body of a text completion."""

    prompt: str


@dataclass(frozen=True)
class Choice:
    """One answer, in tokens."""

    tokens: list[str]
    finish_reason: str
    tool_calls: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.tokens)


@dataclass(frozen=True)
class Completion:
    """Everything that was answered to one request."""

    id: str
    created: int
    model: str
    prompt: str
    prompt_tokens: int
    choices: list[Choice]

    @property
    def usage(self) -> dict[str, int]:
        """Tokens in and out."""
        completed = sum(len(choice.tokens) for choice in self.choices)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completed,
            "total_tokens": self.prompt_tokens + completed,
        }


def read_body(body: Any, shape: type[B]) -> B:
    """A request's body that is already decoded, as in a line of a batch.

    Raises:
        Refusal: 400, it has another shape.
    """
    try:
        given = {key: value for key, value in body.items() if value is not None} if isinstance(body, dict) else body
        return msgspec.convert(given, shape)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"body: {error}") from None


def chat(world: World, request: ChatRequest, served: Served, mind: Mind) -> Completion:
    """Answers a conversation.

    Raises:
        Refusal: the request is out of bounds, or the model does not chat.
    """
    _check(request, served, kinds=("chat",))
    if not request.messages or not all(isinstance(message.get("role"), str) for message in request.messages):
        raise Refusal(400, "messages must be a list of objects with a role, and not empty.", param="messages")
    prompt_tokens = sum(count_tokens(text_of(message)) + TOKENS_PER_MESSAGE for message in request.messages)
    room = _room(request, served, prompt_tokens)
    prompt = asked(request.messages)
    choices = []
    for variant in range(request.n):
        text = mind.answer(prompt, variant)
        tool = _forced_tool(request)
        if tool is not None:
            choices.append(_tool_call(tool, text))
        else:
            text = as_json(text, request.response_format) if request.response_format else text
            choices.append(_cut(text, request.stop, room, natural="stop"))
    return _completion(world, request.model, prompt, prompt_tokens, choices)


def complete(world: World, request: CompletionRequest, served: Served, mind: Mind) -> Completion:
    """Continues a text.

    Raises:
        Refusal: the request is out of bounds, or the model does not write.
    """
    _check(request, served, kinds=("chat", "language"))
    prompt_tokens = count_tokens(request.prompt)
    room = _room(request, served, prompt_tokens)
    choices = [
        _cut(mind.answer(request.prompt, variant), request.stop, room, natural="eos") for variant in range(request.n)
    ]
    return _completion(world, request.model, request.prompt, prompt_tokens, choices)


def chat_body(completion: Completion) -> dict[str, Any]:
    """The answer to a chat completion that is not streamed."""
    return {
        "id": completion.id,
        "object": "chat.completion",
        "created": completion.created,
        "model": completion.model,
        "prompt": [],
        "choices": [
            {
                "index": index,
                "finish_reason": choice.finish_reason,
                "logprobs": None,
                "seed": index,
                "message": _message(choice),
            }
            for index, choice in enumerate(completion.choices)
        ],
        "usage": completion.usage,
    }


def completion_body(completion: Completion, *, echo: bool) -> dict[str, Any]:
    """The answer to a text completion that is not streamed."""
    return {
        "id": completion.id,
        "object": "text.completion",
        "created": completion.created,
        "model": completion.model,
        "prompt": [{"text": completion.prompt}] if echo else [],
        "choices": [
            {"index": index, "text": choice.text, "finish_reason": choice.finish_reason, "seed": index}
            for index, choice in enumerate(completion.choices)
        ],
        "usage": completion.usage,
    }


def pieces(completion: Completion) -> Iterator[tuple[int, str, str | None]]:
    """The answer token by token: the choice's number, the text, and at its end why it ended."""
    for index, choice in enumerate(completion.choices):
        for token in choice.tokens:
            yield index, token, None
        yield index, "", choice.finish_reason


def _message(choice: Choice) -> dict[str, Any]:
    if choice.tool_calls:
        return {"role": "assistant", "content": None, "tool_calls": choice.tool_calls}
    return {"role": "assistant", "content": choice.text, "tool_calls": []}


def _check(request: _Sampling, served: Served, kinds: tuple[str, ...]) -> None:
    if served.base.type not in kinds:
        raise Refusal(400, f"Model {request.model} is a {served.base.type} model.", param="model")
    if not 1 <= request.n <= MAX_CHOICES:
        raise Refusal(400, f"n must be between 1 and {MAX_CHOICES}.", param="n")
    if request.max_tokens is not None and request.max_tokens < 1:
        raise Refusal(400, "max_tokens must be at least 1.", param="max_tokens")
    if not 0 <= request.temperature <= 2:
        raise Refusal(400, "temperature must be between 0 and 2.", param="temperature")


def _room(request: _Sampling, served: Served, prompt_tokens: int) -> int:
    """How many tokens may be answered. The service says 403 when the context is too short."""
    left = served.base.context_length - prompt_tokens
    wanted = request.max_tokens or min(left, 2048)
    if wanted > left and request.context_length_exceeded_behavior == "truncate":
        wanted = left
    if wanted > left or left < 1:
        raise Refusal(
            403,
            f"tokens + max_tokens must be at most {served.base.context_length}; got {prompt_tokens} + {wanted}.",
            type="invalid_request_error",
            param="max_tokens",
        )
    return wanted


def _cut(text: str, stop: list[str] | str, room: int, natural: str) -> Choice:
    finish = natural
    for sequence in [stop] if isinstance(stop, str) else stop:
        if sequence and sequence in text:
            text, finish = text.partition(sequence)[0], "stop"
    tokens = split_tokens(text)
    if len(tokens) > room:
        tokens, finish = tokens[:room], "length"
    return Choice(tokens, finish)


def _forced_tool(request: ChatRequest) -> dict[str, Any] | None:
    """The tool that must be called, if one must."""
    functions: list[dict[str, Any]] = [tool.get("function", {}) for tool in request.tools]
    if isinstance(request.tool_choice, dict):
        wanted = request.tool_choice.get("function", {}).get("name")
        found = next((function for function in functions if function.get("name") == wanted), None)
        if found is None:
            raise Refusal(400, f"tool_choice names {wanted!r}, which is not among the tools.", param="tool_choice")
        return found
    return functions[0] if functions and request.tool_choice == "required" else None


def _tool_call(function: dict[str, Any], text: str) -> Choice:
    arguments = msgspec.json.encode(instance(function.get("parameters", {"type": "object"}), text)).decode()
    call = {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "index": 0,
        "type": "function",
        "function": {"name": function.get("name", ""), "arguments": arguments},
    }
    return Choice(split_tokens(arguments), "tool_calls", [call])


def _completion(world: World, model: str, prompt: str, prompt_tokens: int, choices: list[Choice]) -> Completion:
    now = world.clock.now()
    return Completion(uuid.uuid4().hex[:24], world.clock.epoch(now), model, prompt, prompt_tokens, choices)
