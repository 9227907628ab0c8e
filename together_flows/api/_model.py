"""The bases of every shape on the wire: `Request` for what we send, `Answer` for what comes back, and shared types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from io import TextIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, ClassVar, Self, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PlainValidator,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails

__all__ = [
    "WHOLE",
    "Answer",
    "AudioContent",
    "Exact",
    "FileContent",
    "Name",
    "Nested",
    "Request",
    "Rows",
    "Secret",
    "Time",
]

T = TypeVar("T")

_LENIENT = ConfigDict(
    extra="allow",
    populate_by_name=True,
    protected_namespaces=(),
    hide_input_in_errors=True,
    # Validators are built when a model is first used: a DAG file that names one operation does not pay for the others.
    defer_build=True,
)


class Exact(BaseModel):
    """What we send: numbers may be written as text, as templates write them, but nothing becomes what it was not.

    A `bool` is no number, and bytes are no text: taken for one they would be a mistake that is paid for.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _nothing_else(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made = handler(data)
        if isinstance(data, Mapping) and (mistaken := list(made._mistaken(data))):
            raise ValidationError.from_exception_data(cls.__name__, mistaken)
        return made

    def _mistaken(self, data: Mapping[str, Any]) -> Iterable[InitErrorDetails]:
        for name in type(self).model_fields:
            given, taken = data.get(name), getattr(self, name)
            if isinstance(given, bool | bytes) and not isinstance(taken, bool | bytes):
                wanted = {int: "int_type", float: "float_type"}.get(type(taken), "string_type")
                yield {"type": wanted, "loc": (name,), "input": given}


class Request(Exact):
    """A nested argument. It is checked before it is sent; fields that are not declared here pass through unchecked.

    Attributes:
        sends_null: the declared fields whose `None`, when it was given, is sent as `null`. Everywhere else `None` means
            "not given".
    """

    model_config = ConfigDict(**_LENIENT, allow_inf_nan=False)

    sends_null: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="after")
    def _no_misspelt_fields(self) -> Self:
        """A field that is not declared passes, since the API grows; one that is nearly a declared one is a mistake."""
        declared = type(self).model_fields
        for extra in self.model_extra or {}:
            if close := get_close_matches(extra, declared, n=1, cutoff=0.85):
                raise ValueError(f"has no field {extra!r} (did you mean {close[0]!r}?)")
        return self


#: Marks a field that may be absent, but that is no detail: what comes in it must be as expected, ids and all.
WHOLE = object()


class Answer(BaseModel):
    """What the API answers. Only ids and statuses are required; everything else is taken as it comes.

    Fields that are not declared are kept (`answer.model_extra`). A declared field that arrives as another type than
    expected is kept as it was sent: a surprise in a detail must not break a pipeline that does not look at it. `null`
    where nothing of the kind is expected counts as absent. What the answer is all about is marked `WHOLE`.
    """

    model_config = _LENIENT

    @model_validator(mode="wrap")
    @classmethod
    def _keep_surprises(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            surprises = cls._optional_fields_of(error, data)
            if not surprises:
                raise
        answer = handler({key: value for key, value in data.items() if key not in surprises})
        for key, field in surprises.items():
            if data[key] is not None:
                answer.__dict__[field] = data[key]
                answer.__pydantic_fields_set__.add(field)
        return answer

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Only what came: the repr of a job that has forty fields should show the ten that were sent."""
        return [(name, value) for name, value in super().__repr_args__() if name not in self._absent]

    @property
    def _absent(self) -> set[str]:
        return type(self).model_fields.keys() - self.model_fields_set

    @classmethod
    def _optional_fields_of(cls, error: ValidationError, data: Any) -> dict[str, str]:
        """The refused keys and their fields' names, if the answer can do without all of them; otherwise nothing."""
        if not isinstance(data, Mapping):
            return {}
        optional: dict[str, str] = {}
        for name, field in cls.model_fields.items():
            if not field.is_required() and WHOLE not in field.metadata:
                optional |= {name: name, field.alias or name: name}
        refused = {str(problem["loc"][0]) for problem in error.errors(include_url=False) if problem["loc"]}
        return {key: optional[key] for key in refused} if refused and refused <= optional.keys() else {}


def _hidden(value: SecretStr | str) -> SecretStr:
    return value if isinstance(value, SecretStr) else SecretStr(value)


def _file_content(value: Any) -> Path | bytes | BinaryIO:
    if isinstance(value, Path | bytes):
        return value
    if isinstance(value, str) and value:
        return Path(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if callable(getattr(value, "read", None)) and not isinstance(value, TextIOBase):
        return value  # type: ignore[no-any-return] # a file is known by what it does, not by its class
    raise ValueError("must be a path, bytes or a file opened in binary mode")


def _audio_content(value: Any) -> str | Path | bytes | BinaryIO:
    if isinstance(value, str) and value.lower().startswith(("http://", "https://")):
        return value
    return _file_content(value)


def _empty_for_null(rows: Any) -> Any:
    return [] if rows is None else rows


def _none_for_empty(value: Any) -> Any:
    return None if value == "" else value


def _aware(value: datetime | None) -> datetime | None:
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


#: A string that no repr, log or exception shows; a plain `str` is taken and hidden.
Secret = Annotated[SecretStr | str, AfterValidator(_hidden)]

#: The id or the name of something that is there or shall be. A template that had nothing to fill in makes it empty.
Name = Annotated[str, Field(min_length=1)]

#: The file of a form: a path, bytes, or a file opened in binary mode.
FileContent = Annotated[str | Path | bytes | BinaryIO, PlainValidator(_file_content)]

#: An audio file, or a public http(s) address of one.
AudioContent = Annotated[str | Path | bytes | BinaryIO, PlainValidator(_audio_content)]

#: A list under a key that must be there but may be `null`, which is how an empty one sometimes arrives. An answer
#: without the key is refused, and so is nothing at all where a bare list is due: read as "nothing there" it could make
#: somebody create a paid job a second time.
Rows = Annotated[Sequence[T], BeforeValidator(_empty_for_null), WHOLE]

#: A point in time, always with a zone. The API means UTC where it names none, and sends `""` for "not yet".
Time = Annotated[datetime | None, BeforeValidator(_none_for_empty), AfterValidator(_aware)]

if TYPE_CHECKING:
    #: A nested argument: the model, or a plain dict of the same shape.
    Nested: TypeAlias = T | Mapping[str, Any]
else:

    class Nested:
        """At run time only the model counts: a dict is checked as the model that it stands for."""

        def __class_getitem__(cls, model: Any) -> Any:
            return model
