"""What a user may choose about jobs whose task is cleared, stopped, or lost its answer: the words, in one place."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["OnClear", "OnKill", "OnUnknown"]

OnClear: TypeAlias = Literal["auto", "reattach", "rerun"]
OnUnknown: TypeAlias = Literal["fail", "create"]
OnKill: TypeAlias = Literal["end", "leave"]
