"""Chat completions: a model continues a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from together_flows.api._inference import (
    Choices,
    LogprobCount,
    LogProbs,
    MaxTokens,
    Penalty,
    PromptPart,
    Remark,
    Share,
    Temperature,
    TopLogprobs,
    Usage,
)
from together_flows.api._messages import (
    AnsweredCall,
    AnsweredMessage,
    AnsweredToolCall,
    AssistantMessage,
    AudioPart,
    Delta,
    FunctionCall,
    FunctionMessage,
    FunctionSpec,
    ImagePart,
    InputAudio,
    InputAudioPart,
    JsonObjectFormat,
    JsonSchema,
    JsonSchemaFormat,
    Link,
    Message,
    Reasoning,
    ResponseFormat,
    SystemMessage,
    TextFormat,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
    VideoPart,
)
from together_flows.api._model import Answer, Name, Nested, Request, Rows, Time
from together_flows.api._operation import operation

__all__ = [
    "AnsweredCall",
    "AnsweredMessage",
    "AnsweredToolCall",
    "AssistantMessage",
    "AudioPart",
    "ChatCompletion",
    "ChatCompletionChunk",
    "Choice",
    "ChunkChoice",
    "Delta",
    "FunctionCall",
    "FunctionMessage",
    "FunctionName",
    "FunctionSpec",
    "ImagePart",
    "InputAudio",
    "InputAudioPart",
    "JsonObjectFormat",
    "JsonSchema",
    "JsonSchemaFormat",
    "Link",
    "LogProbs",
    "Reasoning",
    "SystemMessage",
    "TextFormat",
    "TextPart",
    "Tool",
    "ToolCall",
    "ToolMessage",
    "Usage",
    "UserMessage",
    "VideoPart",
    "create",
]


class FunctionName(Request):
    """The one function that the model must call."""

    name: str


class Choice(Answer):
    """One of the answers.

    Attributes:
        finish_reason: `stop`, `eos`, `length` (it ran out of tokens), `tool_calls` or `function_call`; may be empty.
    """

    index: int | None = None
    message: AnsweredMessage | None = None
    text: str | None = None
    finish_reason: str | None = None
    seed: int | None = None
    logprobs: LogProbs | None = None
    top_logprobs: TopLogprobs | None = None


class ChatCompletion(Answer):
    """The answer to a conversation."""

    id: str = ""
    object: str = "chat.completion"
    created: Time = None
    model: str | None = None
    choices: Rows[Choice]
    prompt: Sequence[PromptPart] = ()
    usage: Usage | None = None
    warnings: Sequence[Remark] = ()


class ChunkChoice(Answer):
    """The next piece of one of the streamed answers."""

    index: int | None = None
    delta: Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    seed: int | None = None
    logprobs: float | LogProbs | None = None
    top_logprobs: TopLogprobs | None = None


class ChatCompletionChunk(Answer):
    """One event of a streamed answer. The last one carries the usage."""

    id: str = ""
    object: str = "chat.completion.chunk"
    created: Time = None
    model: str | None = None
    system_fingerprint: str | None = None
    choices: Rows[ChunkChoice]
    usage: Usage | None = None
    warnings: Sequence[Remark] = ()


@operation("POST", "/chat/completions", repeatable=True, chunk=ChatCompletionChunk)
def create(
    *,
    messages: Sequence[Nested[Message]],
    model: Name,
    max_tokens: MaxTokens | None = None,
    stop: Sequence[str] | None = None,
    temperature: Temperature | None = None,
    top_p: Share | None = None,
    top_k: int | None = None,
    context_length_exceeded_behavior: Literal["truncate", "error"] | str | None = None,
    repetition_penalty: float | None = None,
    stream: bool | None = None,
    logprobs: LogprobCount | None = None,
    echo: bool | None = None,
    n: Choices | None = None,
    min_p: Share | None = None,
    presence_penalty: Penalty | None = None,
    frequency_penalty: Penalty | None = None,
    logit_bias: Mapping[str | int, float] | None = None,
    seed: int | None = None,
    function_call: Literal["none", "auto"] | str | Nested[FunctionName] | None = None,
    response_format: Nested[ResponseFormat] | None = None,
    tools: Sequence[Nested[Tool]] | None = None,
    tool_choice: Literal["auto", "none", "required"] | str | Mapping[str, Any] | None = None,
    compliance: Literal["hipaa"] | str | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    safety_model: str | None = None,
    reasoning_effort: Literal["low", "medium", "high"] | str | None = None,
    reasoning: Nested[Reasoning] | None = None,
) -> ChatCompletion:
    """Let a model continue a conversation. Prompt and answer are billed by the token.

    A request leaves nothing behind, so it may be repeated when its answer was lost; both are billed.

    Args:
        messages: the conversation so far.
        model: model to ask.
        max_tokens: tokens to answer with at most.
        stop: texts that end the answer.
        temperature: randomness, from 0.
        top_p: sample from the likeliest tokens that together have this probability, 0 to 1.
        top_k: sample from this many likeliest tokens.
        context_length_exceeded_behavior: `error`, the default, or `truncate`, when prompt and `max_tokens` exceed the
            model's context.
        repetition_penalty: higher repeats less.
        stream: answer in server-sent events; `Together.stream` sets it.
        logprobs: log probabilities of this many likeliest tokens, 0 to 20.
        echo: answer with the prompt too.
        n: answers, 1 to 128.
        min_p: least probability of a token relative to the likeliest, 0 to 1.
        presence_penalty: -2 to 2; higher brings new topics.
        frequency_penalty: -2 to 2; higher repeats words less.
        logit_bias: likelihood added to tokens, by token id.
        seed: the same seed samples the same.
        function_call: `none`, `auto`, or the function to call; `tool_choice` took its place.
        response_format: plain text, JSON, or JSON after a schema.
        tools: functions that the model may call.
        tool_choice: `auto`, `none`, `required`, or the tool to call.
        compliance: `hipaa`.
        chat_template_kwargs: arguments of the model's own chat template.
        safety_model: model that moderates the answer.
        reasoning_effort: `low`, `medium` or `high`.
        reasoning: whether the model thinks first.

    Raises:
        PermissionDenied: prompt and `max_tokens` exceed the model's context.
        NotFound: there is no such model.
        RateLimited: too many requests.
    """
