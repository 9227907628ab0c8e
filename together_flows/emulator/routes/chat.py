"""Chat completions, whole or streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from starlette.responses import Response

from together_flows.emulator.gate import Call, Group
from together_flows.emulator.inference import ChatRequest, Completion, chat, chat_body, pieces
from together_flows.emulator.replies import event_stream, json_reply
from together_flows.emulator.serving import serve

group = Group()


@group.post("/chat/completions")
async def create(call: Call) -> Response:
    """Answers a conversation."""
    request = await call.read(ChatRequest)
    served = serve(call.world, request.model)
    completion = chat(call.world, request, served, await served.ready_mind(call.world))
    headers = {"x-request-id": completion.id, **call.world.pace.headers()}
    if request.stream:
        return event_stream(map(msgspec.json.encode, _chunks(completion)), headers)
    return json_reply(chat_body(completion), headers=headers)


def _chunks(completion: Completion) -> Iterator[dict[str, Any]]:
    last = len(completion.choices) - 1
    for index, text, finish_reason in pieces(completion):
        delta: dict[str, Any] = {"role": "assistant", "content": text}
        if finish_reason == "tool_calls":
            delta["tool_calls"] = completion.choices[index].tool_calls
        yield {
            "id": completion.id,
            "object": "chat.completion.chunk",
            "created": completion.created,
            "model": completion.model,
            "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason, "logprobs": None}],
            "usage": completion.usage if finish_reason and index == last else None,
        }
