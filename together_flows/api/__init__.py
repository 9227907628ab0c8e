"""The wire contract: every operation of the API, one module per group, with no I/O.

`OPERATIONS` maps names such as `"fine_tunes.create"` to their entries: the contract's 98 in its order, then the few
calls that the wire needs besides. Reading it loads every group; importing one group loads only that.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from together_flows.api._contract import CONTRACT, GROUPS
from together_flows.api._operation import REGISTRY, Entry, Operation, Reply

if TYPE_CHECKING:
    OPERATIONS: Mapping[str, Entry]

__all__ = ["CONTRACT", "GROUPS", "OPERATIONS", "Entry", "Operation", "Reply"]


def __getattr__(name: str) -> Any:
    if name == "OPERATIONS":
        return _operations()
    if name in GROUPS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _operations() -> Mapping[str, Entry]:
    for group in GROUPS:
        import_module(f"{__name__}.{group}")
    extras = [entry.name for entry in REGISTRY.values() if not entry.in_contract]
    extras.sort(key=lambda name: GROUPS.index(name.partition(".")[0]))
    return MappingProxyType({name: REGISTRY[name] for name in (*CONTRACT, *extras)})
