"""Together AI's jobs as first-class citizens of Airflow and Prefect.

Importing this package loads neither an HTTP library nor an orchestrator: the names below are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from together_flows.client import AsyncTogether, Together
    from together_flows.errors import TogetherError

__version__ = "0.1.0"

__all__ = ["AsyncTogether", "Together", "TogetherError", "__version__"]

_HOMES = {
    "AsyncTogether": "together_flows.client",
    "Together": "together_flows.client",
    "TogetherError": "together_flows.errors",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
