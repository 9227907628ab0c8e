"""Spells the types of an operation as its caller thinks of them: `int` for a count with bounds, not our name for it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, BinaryIO, Literal, Union, get_args, get_origin

from pydantic import SecretStr

from together_flows.api._operation import Entry

__all__ = ["answer_type", "parameter_type"]

_PLAIN = {str, int, float, bool, bytes, datetime, Path, BinaryIO, SecretStr}


def parameter_type(entry: Entry, name: str) -> str:
    """The type of an operation's parameter, such as `str` or `Literal["lora", "full"]`. That it may be left out is
    not said.

    Args:
        entry: the operation.
        name: one of its parameters.
    """
    annotation = str(entry.parameters[name].annotation)
    return _spelt(annotation, inspect.unwrap(entry.function).__globals__)


def answer_type(entry: Entry) -> str:
    """The type of an operation's answer."""
    return _spelt(str(inspect.signature(inspect.unwrap(entry.function)).return_annotation))


class _WithoutMetadata(ast.NodeTransformer):
    """`Annotated[T, …]` and our own wrappers, as the type that a caller gives.

    Args:
        names: what the names in an annotation stand for.
    """

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        value = self._names.get(node.id)
        plain = None if value is None or isinstance(value, type) else _spelt_out(value)
        return ast.parse(plain, mode="eval").body if plain else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        name = node.value.id if isinstance(node.value, ast.Name) else ""
        if name == "Annotated":
            assert isinstance(node.slice, ast.Tuple)
            return node.slice.elts[0]
        return node.slice if name == "Nested" else node


def _spelt(annotation: str, names: Mapping[str, Any] = MappingProxyType({})) -> str:
    tree = _WithoutMetadata(names).visit(ast.parse(annotation, mode="eval"))
    return ast.unparse(tree).replace(" | None", "").replace("'", '"')


def _spelt_out(alias: Any) -> str | None:
    """What a name of ours for plain values allows, such as `int` for a count; nothing if it stands for models."""
    if alias in _PLAIN:
        return str(alias.__name__)
    if get_origin(alias) is Annotated:
        return _spelt_out(get_args(alias)[0])
    if get_origin(alias) is Literal:
        return f"Literal[{', '.join(map(repr, get_args(alias)))}]"
    if get_origin(alias) in (Union, UnionType):
        branches = [_spelt_out(branch) for branch in get_args(alias) if branch is not NoneType]
        return " | ".join(filter(None, branches)) if all(branches) else None
    return None
