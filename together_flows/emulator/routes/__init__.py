"""The routes of the API, one module per group.

A module here is found by being here. It names its routes `group`, and, if it serves long-running work, the kinds of it
in `kinds`. A new group of the API is a new module and nothing else.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from together_flows.emulator.gate import Group
from together_flows.emulator.jobs import JobKind

__all__ = ["all_groups", "all_kinds"]


def all_groups() -> list[Group]:
    """The routes of every group."""
    return [module.group for module in _modules()]


def all_kinds() -> list[JobKind[Any]]:
    """Every kind of job that some group serves."""
    return [kind for module in _modules() for kind in getattr(module, "kinds", ())]


def _modules() -> Iterator[ModuleType]:
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        yield importlib.import_module(f"{__name__}.{found.name}")
