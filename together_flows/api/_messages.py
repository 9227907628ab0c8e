"""Chat messages, tools and response formats: the nested arguments of `chat.create`.

The known kinds are checked; a kind that is not known here, or a field, passes through as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from together_flows.api._model import Answer, Request

__all__ = [
    "AnsweredCall",
    "AnsweredMessage",
    "AnsweredToolCall",
    "AssistantMessage",
    "AudioPart",
    "ContentPart",
    "Delta",
    "FunctionCall",
    "FunctionMessage",
    "FunctionSpec",
    "ImagePart",
    "InputAudio",
    "InputAudioPart",
    "JsonObjectFormat",
    "JsonSchema",
    "JsonSchemaFormat",
    "Link",
    "Message",
    "OtherFormat",
    "OtherMessage",
    "OtherPart",
    "Reasoning",
    "ResponseFormat",
    "SystemMessage",
    "TextFormat",
    "TextPart",
    "Tool",
    "ToolCall",
    "ToolMessage",
    "UserMessage",
    "VideoPart",
]


def _field_of(value: Any, field: str) -> Any:
    return value.get(field) if isinstance(value, Mapping) else getattr(value, field, None)


class Link(Request):
    """The address of an image, a video or a recording; an image may also be a `data:` URL."""

    url: str


class TextPart(Request):
    """A stretch of text within a message."""

    type: Literal["text"] = "text"
    text: str


class ImagePart(Request):
    """An image within a message."""

    type: Literal["image_url"] = "image_url"
    image_url: Link


class VideoPart(Request):
    """A video within a message."""

    type: Literal["video_url"] = "video_url"
    video_url: Link


class AudioPart(Request):
    """A recording within a message, by its address."""

    type: Literal["audio_url"] = "audio_url"
    audio_url: Link


class InputAudio(Request):
    """A recording: its bytes in base64, and their format."""

    data: str = Field(repr=False)
    format: Literal["wav"] | str = "wav"


class InputAudioPart(Request):
    """A recording within a message, by its bytes."""

    type: Literal["input_audio"] = "input_audio"
    input_audio: InputAudio


class OtherPart(Request):
    """A part of a kind that this package does not know."""


def _part_kind(part: Any) -> str:
    kind = _field_of(part, "type")
    return kind if kind in {"text", "image_url", "video_url", "audio_url", "input_audio"} else ""


ContentPart = Annotated[
    Annotated[TextPart, Tag("text")]
    | Annotated[ImagePart, Tag("image_url")]
    | Annotated[VideoPart, Tag("video_url")]
    | Annotated[AudioPart, Tag("audio_url")]
    | Annotated[InputAudioPart, Tag("input_audio")]
    | Annotated[OtherPart, Tag("")],
    Discriminator(_part_kind),
]

Content = str | Sequence[ContentPart]


class FunctionCall(Request):
    """A call that the model makes: the function, and its arguments as a JSON string."""

    name: str
    arguments: str


class ToolCall(Request):
    """A tool call in an assistant message, as a chat completion answered it."""

    id: str
    type: Literal["function"] | str = "function"
    function: FunctionCall
    index: int | None = None


class SystemMessage(Request):
    """Instructions to the model."""

    role: Literal["system"] = "system"
    content: Content
    name: str | None = None


class UserMessage(Request):
    """What the user says or shows."""

    role: Literal["user"] = "user"
    content: Content
    name: str | None = None


class AssistantMessage(Request):
    """What the model said before, its tool calls with it. `content` may be `None` beside them."""

    sends_null: ClassVar[frozenset[str]] = frozenset({"content"})

    role: Literal["assistant"] = "assistant"
    content: Content | None = None
    name: str | None = None
    tool_calls: Sequence[ToolCall] | None = None
    function_call: FunctionCall | None = None


class ToolMessage(Request):
    """What a tool call answered."""

    role: Literal["tool"] = "tool"
    content: Content
    tool_call_id: str
    name: str | None = None


class FunctionMessage(Request):
    """What a function answered; deprecated by the API in favour of `ToolMessage`."""

    role: Literal["function"] = "function"
    content: str
    name: str


class AnsweredCall(Answer):
    """A call that the model asks for: a function, and its arguments as a JSON string. A stream brings pieces."""

    name: str | None = None
    arguments: str = ""


class AnsweredToolCall(Answer):
    """A tool call that the model asks for."""

    id: str | None = None
    type: str = "function"
    index: int | None = None
    function: AnsweredCall | None = None


class AnsweredMessage(Answer):
    """What the model said. It may be put into the next request's messages as it is."""

    role: str = "assistant"
    content: str | None = None
    reasoning: str | None = None
    tool_calls: Sequence[AnsweredToolCall] = ()
    function_call: AnsweredCall | None = None


class Delta(Answer):
    """The next piece of a streamed answer."""

    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    token_id: int | None = None
    tool_calls: Sequence[AnsweredToolCall] = ()
    function_call: AnsweredCall | None = None


class OtherMessage(Request):
    """A message in a role that this package does not know."""

    role: str


def _role(message: Any) -> str:
    if isinstance(message, AnsweredMessage):
        return "answered"
    role = _field_of(message, "role")
    return role if role in {"system", "user", "assistant", "tool", "function"} else ""


Message = Annotated[
    Annotated[SystemMessage, Tag("system")]
    | Annotated[UserMessage, Tag("user")]
    | Annotated[AssistantMessage, Tag("assistant")]
    | Annotated[ToolMessage, Tag("tool")]
    | Annotated[FunctionMessage, Tag("function")]
    | Annotated[AnsweredMessage, Tag("answered")]
    | Annotated[OtherMessage, Tag("")],
    Discriminator(_role),
]


class FunctionSpec(Request):
    """A function that the model may call; `parameters` is the JSON schema of its arguments."""

    name: str | None = None
    description: str | None = None
    parameters: Mapping[str, Any] | None = None


class Tool(Request):
    """A tool that the model may call; so far all tools are functions."""

    type: Literal["function"] | str = "function"
    function: FunctionSpec | None = None


class TextFormat(Request):
    """Answer in plain text, the default."""

    type: Literal["text"] = "text"


class JsonObjectFormat(Request):
    """Answer with some valid JSON. `JsonSchemaFormat` is preferred where the model can."""

    type: Literal["json_object"] = "json_object"


class JsonSchema(Request):
    """A JSON schema with a name of at most 64 of `a-z A-Z 0-9 _ -` (source: the API's reference)."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    schema_: Mapping[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(Request):
    """Answer with JSON that follows a schema."""

    type: Literal["json_schema"] = "json_schema"
    json_schema: JsonSchema


class OtherFormat(Request):
    """A response format that this package does not know, such as `{"type": "regex", "pattern": …}`."""

    type: str


def _format_kind(value: Any) -> str:
    kind = _field_of(value, "type")
    return kind if kind in {"text", "json_object", "json_schema"} else ""


ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("text")]
    | Annotated[JsonObjectFormat, Tag("json_object")]
    | Annotated[JsonSchemaFormat, Tag("json_schema")]
    | Annotated[OtherFormat, Tag("")],
    Discriminator(_format_kind),
]


class Reasoning(Request):
    """Whether the model thinks before it answers, for models that leave the choice."""

    enabled: bool | None = None
