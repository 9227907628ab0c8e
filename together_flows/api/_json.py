"""What an operation carries, as JSON-ready data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from math import isfinite
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel, SecretStr

from together_flows.api._model import Request

__all__ = ["plain", "revealed"]


def plain(value: Any) -> Any:
    """The value as JSON-ready data, except that secrets stay `SecretStr` until they are sent.

    Raises:
        ValueError: it holds something that JSON has no form for. The message never shows the value.
    """
    if value is None or isinstance(value, bool | int | SecretStr):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str):
        return _sendable_text(value)
    if isinstance(value, float):
        if not isfinite(value):
            raise ValueError("a number that is infinite or not a number cannot be sent as JSON")
        return value
    if isinstance(value, BaseModel):
        return {key: plain(item) for key, item in _sent_fields(value).items()}
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return [plain(item) for item in sorted(value, key=repr)]
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        # Tokens come by the million, and need no look at each.
        return list(value) if set(map(type, value)) <= {int} else [plain(item) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID | PurePath):
        return str(value)
    raise ValueError(f"a value of type {type(value).__name__} cannot be sent as JSON")


def revealed(value: Any) -> Any:
    """JSON-ready data with its secrets in clear. Only the clients call it, on the way to the socket."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {key: revealed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [revealed(item) for item in value]
    return value


def _sent_fields(model: BaseModel) -> dict[str, Any]:
    """The model's fields by their names on the wire.

    Of a request those that have a value, and those where `null` was meant; of an answer that is sent back, those that
    came.
    """
    if isinstance(model, Request):
        nulls = model.sends_null & model.model_fields_set
        names = [name for name in type(model).model_fields if getattr(model, name) is not None or name in nulls]
    else:
        names = [name for name in type(model).model_fields if name in model.model_fields_set]
    sent = {type(model).model_fields[name].alias or name: getattr(model, name) for name in names}
    return sent | (model.model_extra or {})


def _key(key: Any) -> str:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise ValueError(f"a key of type {type(key).__name__} cannot be sent as JSON")
    return _sendable_text(str(key))


def _sendable_text(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("text with a lone surrogate cannot be sent as JSON") from None
    return text
