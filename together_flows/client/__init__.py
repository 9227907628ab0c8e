"""Clients: they send operations, retry what is safe to repeat, and turn every failure into one tree of errors.

Importing this package loads no HTTP library: the names below are loaded when first used, because schedulers parse the
modules that mention them every few seconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from together_flows.client._async import AsyncTogether
    from together_flows.client._redaction import forms_of, without_secrets
    from together_flows.client._shared import async_client_for, client_for
    from together_flows.client._signed import download_signed
    from together_flows.client._sync import Together
    from together_flows.client.retry import Retries, instant_retries

__all__ = [
    "AsyncTogether",
    "Retries",
    "Together",
    "async_client_for",
    "client_for",
    "download_signed",
    "forms_of",
    "instant_retries",
    "without_secrets",
]

_HOMES = {
    "AsyncTogether": "_async",
    "Retries": "retry",
    "Together": "_sync",
    "async_client_for": "_shared",
    "client_for": "_shared",
    "download_signed": "_signed",
    "forms_of": "_redaction",
    "instant_retries": "retry",
    "without_secrets": "_redaction",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
