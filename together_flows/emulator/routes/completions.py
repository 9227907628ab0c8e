"""Text completions, whole or streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from starlette.responses import Response

from together_flows.emulator.gate import Call, Group
from together_flows.emulator.inference import Completion, CompletionRequest, complete, completion_body, pieces
from together_flows.emulator.replies import event_stream, json_reply
from together_flows.emulator.serving import serve

group = Group()


@group.post("/completions")
async def create(call: Call) -> Response:
    """Continues a text."""
    request = await call.read(CompletionRequest)
    served = serve(call.world, request.model)
    completion = complete(call.world, request, served, await served.ready_mind(call.world))
    headers = {"x-request-id": completion.id, **call.world.pace.headers()}
    if request.stream:
        return event_stream(map(msgspec.json.encode, _chunks(completion)), headers)
    return json_reply(completion_body(completion, echo=request.echo), headers=headers)


def _chunks(completion: Completion) -> Iterator[dict[str, Any]]:
    last = len(completion.choices) - 1
    for number, (index, text, finish_reason) in enumerate(pieces(completion)):
        yield {
            "id": completion.id,
            "object": "completion.chunk",
            "created": completion.created,
            "model": completion.model,
            "token": {"id": number, "text": text, "logprob": 0, "special": finish_reason is not None},
            "choices": [{"index": index, "text": text}],
            "usage": completion.usage if finish_reason and index == last else None,
            "finish_reason": finish_reason,
        }
