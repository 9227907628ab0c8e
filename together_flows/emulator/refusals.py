"""How the emulator says no: one exception, and the API's five ways to write an error body.

A group of the API declares which body it writes; code that refuses only says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["ErrorBody", "Refusal", "flat", "flat_error", "message_and_code", "message_only", "nested", "text_only"]


class Refusal(Exception):
    """A request is refused.

    Args:
        status: the HTTP status.
        message: what is wrong, for a person.
        type: the API's error type; guessed from the status when not given.
        param: the field that is wrong.
        code: the API's error code.
        body: an exact body, for the few answers that break their group's own rule.
        headers: more headers, such as `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type or _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
        self.param = param
        self.code = code
        self.body = body
        self.headers = headers or {}


_TYPES = {
    401: "authentication_error",
    402: "insufficient_balance",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
    503: "service_unavailable",
    504: "timeout_error",
}

ErrorBody = Callable[[Refusal], Any]
"""Makes the body of an error answer: a JSON value, or a string that is sent as plain text."""


def nested(refusal: Refusal) -> Any:
    """Inference, files, fine-tunes, evaluation, endpoints, models."""
    return {"error": {"message": refusal.message, "type": refusal.type, "param": refusal.param, "code": refusal.code}}


def flat_error(refusal: Refusal) -> Any:
    """Batches: the text alone under `error`."""
    return {"error": refusal.message}


def message_and_code(refusal: Refusal) -> Any:
    """Reinforcement learning, in the gRPC gateway's manner."""
    return {"message": refusal.message, "code": _GRPC_CODES.get(refusal.status, 2)}


def flat(refusal: Refusal) -> Any:
    """Queues: the same four words as `nested`, one level up."""
    return {"code": refusal.code or "", "message": refusal.message, "param": refusal.param or "", "type": refusal.type}


def message_only(refusal: Refusal) -> Any:
    """Containers, and the answer for a model without fine-tuning limits."""
    return {"message": refusal.message}


def text_only(refusal: Refusal) -> Any:
    """Model download and videos: plain text."""
    return refusal.message


_GRPC_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 503: 14, 504: 4}
