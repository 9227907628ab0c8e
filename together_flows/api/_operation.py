"""Operations: one API call, as data.

Each operation of the API is declared once, as a plain function with a typed signature, a docstring and no body::

    @operation("POST", "/fine-tunes/{id}/cancel")
    def cancel(id: str, /) -> FineTune:
        '''Cancel a fine-tuning job.'''

`operation` turns the declaration into a function that checks its arguments and returns an `Operation[FineTune]`: a
frozen value that either client can send. Where an argument travels follows from the declaration: names in the path
template go into the path, the others into the query of a GET or DELETE and into the JSON body of anything else. `None`
means "not given" and is not sent. A rule that spans several arguments is a function of its own, named in the
declaration as `check`. Nothing here does I/O.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Generic, ParamSpec, TypeVar, get_type_hints
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from together_flows.api._contract import TABLE
from together_flows.api._json import plain, revealed
from together_flows.api._model import Exact
from together_flows.api._refusal import reasons
from together_flows.errors import AnswerInvalid, ArgumentInvalid

__all__ = ["REGISTRY", "Entry", "Operation", "Place", "Reply", "Wire", "operation", "plain", "revealed"]

P = ParamSpec("P")
T = TypeVar("T")


class Reply(StrEnum):
    """What a successful answer is made of."""

    JSON = "json"
    BYTES = "bytes"  # a file: `client.download` streams it, `client.send` returns it whole
    NOTHING = "nothing"  # 204, or a body without meaning
    REDIRECT = "redirect"  # 302 whose headers are the answer
    SOCKET = "socket"  # 101, a WebSocket session; the operation's answer is the type of one event


class Place(StrEnum):
    """Where an argument travels, when that does not follow from the method."""

    QUERY = "query"
    BODY = "body"
    HEADER = "header"
    PART = "part"  # the file of a multipart form, or the address of one, which travels as a field


@dataclass(frozen=True)
class Wire:
    """Metadata for `Annotated`: another place or another name than the usual ones."""

    place: Place | None = None
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[T]):
    """One API call, checked and ready to be sent by `Together.send` or `AsyncTogether.send`.

    Attributes:
        name: `"group.function"`, the key in `OPERATIONS`.
        method: HTTP method.
        template: the contract's path, such as `/fine-tunes/{id}`.
        path: the template with its ids filled in and quoted, so that no id can leave its segment.
        version: API version that serves the path, `"v1"` unless the API says otherwise.
        query: query parameters.
        body: JSON body, or the fields of a form; secrets are still `SecretStr` in it.
        parts: files of a multipart form.
        headers: further request headers.
        form: whether `body` travels as a form instead of as JSON.
        repeatable: whether sending it twice is the same as sending it once, so that a lost answer may be retried.
        reply: what a successful answer is made of.
        answer: the type that `send` returns.
        chunk: the type of one server-sent event, for operations that can stream.
    """

    name: str
    method: str
    template: str
    path: str
    answer: Any
    version: str = "v1"
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    parts: Mapping[str, Path | bytes | BinaryIO] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    form: bool = False
    repeatable: bool = True
    reply: Reply = Reply.JSON
    chunk: Any = None

    def extended(self, **fields: Any) -> Operation[T]:
        """The same operation with further parameters, for what the API knows and this package does not.

        They go where the operation's own go by default: into the query of a GET or DELETE, otherwise into the body.
        """
        further = {name: plain(value) for name, value in fields.items()}
        if self.method in _WITHOUT_BODY:
            return replace(self, query={**self.query, **further})
        return replace(self, body={**(self.body or {}), **further})

    def untyped(self) -> Operation[Any]:
        """The same operation, answered with plain dicts and lists instead of models."""
        return replace(self, answer=Any)

    def parse(self, decoded: Any) -> T:
        """Turn a decoded answer into the type it is declared to have.

        Raises:
            AnswerInvalid: a required id or status is missing, or the answer is of another shape altogether.
        """
        try:
            return _adapter(self.answer).validate_python(decoded)  # type: ignore[no-any-return] # the adapter is of T
        except ValidationError as error:
            problem = f"{self.name}: the answer is not what the API promises: {reasons(error, decoded)}."
        raise AnswerInvalid(problem)  # apart from the cause, which holds the answer and with it perhaps a secret


@dataclass(frozen=True)
class Entry:
    """A line of `OPERATIONS`: the function that makes the operation, and where it goes.

    Attributes:
        name: `"group.function"`.
        function: makes the operation from its arguments; each can be given by name.
        method: HTTP method.
        path: the contract's template, such as `/fine-tunes/{id}`.
        version: API version that serves the path.
        reply: what a successful answer is made of.
        parameters: the function's parameters.
        repeatable: whether sending it twice is the same as sending it once, whatever its arguments.
        streams: whether the answer can come as server-sent events.
        in_contract: whether it is one of the contract's 98; the others are calls that the wire needs besides.
    """

    name: str
    function: Callable[..., Operation[Any]]
    method: str
    path: str
    version: str
    reply: Reply
    parameters: Mapping[str, inspect.Parameter]
    repeatable: bool
    streams: bool
    in_contract: bool

    @property
    def summary(self) -> str:
        """The first paragraph of the operation's documentation, on one line."""
        return " ".join((inspect.getdoc(self.function) or "").partition("\n\n")[0].split())


#: The operations of the groups that have been imported so far.
REGISTRY: dict[str, Entry] = {}


def operation(
    method: str,
    template: str,
    *,
    repeatable: bool | None = None,
    version: str = "v1",
    form: bool = False,
    reply: Reply = Reply.JSON,
    chunk: Any = None,
    check: Callable[[Any], Iterable[str]] | None = None,
) -> Callable[[Callable[P, T]], Callable[P, Operation[T]]]:
    """Declare an API call. The decorated function's signature, docstring and return type are the declaration.

    Args:
        method: HTTP method.
        template: path as in the contract; the parameters it names are quoted into it.
        repeatable: whether a lost answer may be retried. By default everything but POST is, and whatever carries an
            `Idempotency-Key`.
        version: API version that serves the path.
        form: the body travels as a form, as uploads do.
        reply: what a successful answer is made of.
        chunk: type of one server-sent event where the call can stream.
        check: a rule that spans several arguments. It is given them as attributes, each valid on its own, and yields
            a sentence for each thing that is wrong.
    """

    def declare(function: Callable[P, T]) -> Callable[P, Operation[T]]:
        package, _, group = function.__module__.rpartition(".")
        name = f"{group}.{function.__name__}"
        signature = inspect.signature(function)
        in_path = {_snake(wire): wire for wire in re.findall(r"{(\w+)}", template)}

        @functools.cache
        def declared() -> tuple[type[BaseModel], Any]:
            hints = get_type_hints(function, include_extras=True)
            return _arguments_model(name, signature, hints), hints["return"]

        @functools.wraps(function)
        def make(*args: P.args, **kwargs: P.kwargs) -> Operation[T]:
            model, answer = declared()
            given = _validate(name, model, _by_name(name, signature, args, kwargs))
            if check is not None and (problems := tuple(check(given))):
                raise ArgumentInvalid(f"{name}: {'; '.join(problems)}.")
            placed = _place(name, given, model, in_path, method)
            return Operation(
                name=name,
                method=method,
                template=template,
                path=_fill(name, template, placed.path),
                version=version,
                query=placed.query,
                body=placed.body,
                parts=placed.parts,
                headers=placed.headers,
                form=form,
                repeatable=entry.repeatable or _IDEMPOTENCY_KEY in placed.headers,
                reply=reply,
                answer=answer,
                chunk=chunk,
            )

        entry = Entry(
            name=name,
            function=make,
            method=method,
            path=template,
            version=version,
            reply=reply,
            parameters=dict(signature.parameters),
            repeatable=method != "POST" if repeatable is None else repeatable,
            streams=chunk is not None,
            in_contract=name in TABLE,
        )
        if package == __package__:  # operations that others declare work as well, and do not enter the table
            REGISTRY[name] = entry
        return make

    return declare


_WITHOUT_BODY = frozenset({"GET", "DELETE"})

#: The one header by which a repetition answers with what the first request made, where the API knows it.
_IDEMPOTENCY_KEY = "Idempotency-Key"


@dataclass
class _Placed:
    path: dict[str, Any] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] | None = None  # `{}` where there is a body and all of it was left out
    headers: dict[str, str] = field(default_factory=dict)
    parts: dict[str, Path | bytes | BinaryIO] = field(default_factory=dict)


class _Arguments(Exact):
    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, protected_namespaces=(), allow_inf_nan=False
    )


def _arguments_model(name: str, signature: inspect.Signature, hints: Mapping[str, Any]) -> type[BaseModel]:
    """The pydantic model that checks the arguments of one operation: made from its signature, on first use."""
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[parameter.name] = (hints[parameter.name], Field(default))
    return create_model(name, __base__=_Arguments, **fields)


def _by_name(
    name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    positional = [p.name for p in signature.parameters.values() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    if len(args) > len(positional):
        allowed = "no positional arguments" if not positional else f"only {', '.join(positional)} by position"
        raise ArgumentInvalid(f"{name} takes {allowed} ({len(args)} given).", mend="Name the others.")
    given = dict(zip(positional, args, strict=False))
    for key in kwargs:
        if key in given:
            raise ArgumentInvalid(f"{name}: {key} was given twice.")
        if key not in signature.parameters:
            close = get_close_matches(key, signature.parameters, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"It takes {', '.join(signature.parameters) or 'none'}."
            raise ArgumentInvalid(f"{name} has no parameter {key!r}.", mend=hint)
    return given | dict(kwargs)


def _validate(name: str, model: type[BaseModel], given: Mapping[str, Any]) -> BaseModel:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problem = f"{name}: {reasons(error, given)}."
    raise ArgumentInvalid(problem)  # apart from the cause, which holds every argument and with them the secrets


def _place(name: str, given: BaseModel, model: type[BaseModel], in_path: Mapping[str, str], method: str) -> _Placed:
    placed = _Placed()
    usual = Place.QUERY if method in _WITHOUT_BODY else Place.BODY
    for key, info in model.model_fields.items():
        value = getattr(given, key)
        if key in in_path:
            placed.path[in_path[key]] = value
            continue
        wire = next((m for m in info.metadata if isinstance(m, Wire)), Wire())
        place, wire_name = wire.place or usual, wire.name or key
        if place is Place.PART and isinstance(value, str):
            place = Place.BODY
        if place is Place.BODY and placed.body is None:
            placed.body = {}
        if value is None:
            continue
        try:
            _put(placed, place, wire_name, value)
        except ValueError as error:
            raise ArgumentInvalid(f"{name}: {key}: {error}.") from None
    return placed


def _put(placed: _Placed, place: Place, name: str, value: Any) -> None:
    match place:
        case Place.QUERY:
            placed.query[name] = plain(value)
        case Place.HEADER:
            placed.headers[name] = str(value)
        case Place.PART:
            placed.parts[name] = value
        case Place.BODY:
            placed.body = {**(placed.body or {}), name: plain(value)}


def _fill(name: str, template: str, ids: Mapping[str, Any]) -> str:
    path = template
    for wire_name, value in ids.items():
        if not value or value in {".", ".."}:
            raise ArgumentInvalid(f"{name}: {_snake(wire_name)} must be an id, not {value!r}.")
        try:
            path = path.replace(f"{{{wire_name}}}", quote(value, safe=""))
        except UnicodeEncodeError:
            raise ArgumentInvalid(
                f"{name}: {_snake(wire_name)} must be an id, not text that has no encoding."
            ) from None
    return path


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


@functools.cache
def _adapter(answer: Any) -> TypeAdapter[Any]:
    return TypeAdapter(answer)
