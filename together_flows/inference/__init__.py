"""Inference over rows: an operation sent once for each row, in order, each accounted for; and sessions in one go.

    from together_flows import AsyncTogether
    from together_flows.inference import FanOut

    async with AsyncTogether(max_connections=64) as client:
        manifest = await FanOut(operation="chat.create", model="…", concurrency=64).run(
            client, "prompts.jsonl", "answers.jsonl"
        )

`converse` holds a WebSocket session from its beginning to its end: a text in, its speech out; a recording in, its text
out.

Importing this package loads no HTTP library: the names below are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from together_flows.inference.attempts import AttemptPolicy
    from together_flows.inference.fan_out import FanOut
    from together_flows.inference.governor import Governor
    from together_flows.inference.requests import MODALITIES
    from together_flows.inference.sessions import SESSIONS, aconverse, check_session_input, converse
    from together_flows.inference.talks import Patience

__all__ = [
    "MODALITIES",
    "SESSIONS",
    "AttemptPolicy",
    "FanOut",
    "Governor",
    "Patience",
    "aconverse",
    "check_session_input",
    "converse",
]

_HOMES = {
    "MODALITIES": "requests",
    "SESSIONS": "sessions",
    "AttemptPolicy": "attempts",
    "FanOut": "fan_out",
    "Governor": "governor",
    "Patience": "talks",
    "aconverse": "sessions",
    "check_session_input": "sessions",
    "converse": "sessions",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
