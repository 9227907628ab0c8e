"""The wire contract: every operation of the API, one module per group, with no I/O.

`OPERATIONS` maps names such as `"fine_tunes.create"` to their entries, in the order of the API's contract. Reading it
loads every group; importing one group loads only that.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from together_flows.api._operation import Entry, Operation, Reply

if TYPE_CHECKING:
    OPERATIONS: Mapping[str, Entry]

__all__ = ["GROUPS", "OPERATIONS", "Entry", "Operation", "Reply"]

#: The groups, in the order of the contract.
GROUPS = ("files",)


def __getattr__(name: str) -> Any:
    if name == "OPERATIONS":
        return _operations()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _operations() -> Mapping[str, Entry]:
    from together_flows.api._operation import REGISTRY

    for group in GROUPS:
        import_module(f"together_flows.api.{group}")
    ranked = sorted(REGISTRY.values(), key=lambda entry: GROUPS.index(entry.name.partition(".")[0]))
    return MappingProxyType({entry.name: entry for entry in ranked})
