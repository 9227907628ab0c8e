"""What the contract's shapes forbid is refused before it is sent, wherever in the arguments it is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_type_hints
from urllib.parse import unquote

import pytest
from pydantic import BaseModel

from tests.contract import contract
from tests.contract.places import Part, at, changed, having, parts, without
from tests.contract.test_requests import arguments, build
from together_flows.api import CONTRACT, OPERATIONS
from together_flows.api._model import Request
from together_flows.api._operation import _arguments_model, revealed
from together_flows.errors import ArgumentInvalid

#: Enumerations that are closed, since the value decides which other fields there are, or which Python type it is.
CLOSED = {
    "audio.create_speech bit_rate",
    "audio.create_transcription timestamp_granularities",
    "audio.create_transcription timestamp_granularities.[]",
    "audio.create_translation timestamp_granularities",
    "audio.create_translation timestamp_granularities.[]",
    "evaluation.create type",
    "fine_tunes.create batch_size",
    "fine_tunes.create lr_scheduler.lr_scheduler_type",
    "fine_tunes.create train_on_inputs",
    "fine_tunes.create training_method.method",
    "fine_tunes.create training_method.train_on_inputs",
    "fine_tunes.create training_type.type",
    "fine_tunes.estimate_price training_method.method",
    "fine_tunes.estimate_price training_method.train_on_inputs",
    "fine_tunes.estimate_price training_type.type",
    "videos.create frame_images.[].frame",
    "videos.create media.frame_images.[].frame",
}

#: What the contract requires of a nested argument and we send of ourselves where it was not given.
FILLED_IN = {
    "chat.create messages.[].content.[].input_audio format",
    "chat.create messages.[].tool_calls.[] type",
    "fine_tunes.create training_method train_on_inputs",
    "fine_tunes.create training_type lora_alpha",
    "fine_tunes.create lr_scheduler.lr_scheduler_args min_lr_ratio",
    "fine_tunes.estimate_price training_method train_on_inputs",
    "fine_tunes.estimate_price training_type lora_alpha",
}

#: What one shape of the contract requires of a nested argument and another does without: a part with an image has no
#: need of a type, a line none of cycles. And what the service does without: of a tool to be called, its name is enough,
#: and nobody numbers the calls that a message repeats.
DISPENSABLE = {
    "chat.create messages.[].content.[] type",
    "fine_tunes.create lr_scheduler.lr_scheduler_args num_cycles",
    "chat.create messages.[].tool_calls.[] index",
    "chat.create tool_choice id",
    "chat.create tool_choice type",
    "chat.create tool_choice function",
    "chat.create tool_choice index",
    "chat.create tool_choice.function name",
    "chat.create tool_choice.function arguments",
}

#: What passes undeclared: the arguments of another scheduler, and those of a loss that has none so far.
PASSING = {
    "fine_tunes.create": {".lr_scheduler.lr_scheduler_args.num_cycles"},
    "rl.forward_backward": {".loss.cross_entropy_params.key"},
}

ALL = [part for name in CONTRACT for part in parts(name)]


@dataclass(frozen=True)
class Beyond:
    """A value that breaks a limit."""

    part: Part
    keyword: str
    value: Any

    def __str__(self) -> str:
        return f"{self.part} {self.keyword}={self.part.schema[self.keyword]}"


def beyond(part: Part) -> Iterator[Beyond]:
    values = {
        "minimum": lambda least: least - 1,
        "maximum": lambda most: most + 1,
        "minLength": lambda least: "x" * (least - 1),
        "maxLength": lambda most: "x" * (most + 1),
        "minItems": lambda least: ["word"] * (least - 1),
        "maxItems": lambda most: ["word"] * (most + 1),
        "pattern": lambda _: "b@d n#me/..",
    }
    for keyword, broken in values.items():
        if part.schema.get(keyword) not in (None, 0 if keyword.startswith("minI") else None):
            yield Beyond(part, keyword, broken(part.schema[keyword]))


@pytest.mark.parametrize("broken", [one for part in ALL for one in beyond(part)], ids=str)
def test_a_value_beyond_a_limit_is_refused_by_the_name_of_its_field(broken: Beyond):
    given, place = next(having(broken.part))
    with pytest.raises(ArgumentInvalid, match=rf"\b{broken.part.field}\b"):
        build(broken.part.operation, changed(given, place, broken.value))


@pytest.mark.parametrize("part", [part for part in ALL if "enum" in part.schema], ids=str)
def test_an_enumeration_takes_new_values_unless_it_is_closed(part: Part):
    given, place = next(having(part))
    new = changed(given, place, "something-new")
    if str(part) in CLOSED:
        with pytest.raises(ArgumentInvalid, match="must be"):
            build(part.operation, new)
    else:
        assert build(part.operation, new)


REQUIRED = [
    (part, key)
    for part in ALL
    for key in part.schema.get("required", ())
    if part.place and key in part.schema.get("properties", {})
]


@pytest.mark.parametrize(("part", "key"), REQUIRED, ids=str)
def test_a_nested_argument_without_what_it_needs_is_refused_by_name(part: Part, key: str):
    given, place = next(having(part))
    less = without(given, (*place, key))
    if f"{part} {key}" in DISPENSABLE:
        assert build(part.operation, less)
        return
    if f"{part} {key}" in FILLED_IN:
        sent = revealed(build(part.operation, less).body)
        assert contract.violations(at(sent, place), part.schema) == []
        return
    with pytest.raises(ArgumentInvalid, match=rf"\b{key}\b"):
        build(part.operation, less)


@pytest.mark.parametrize("name", CONTRACT)
def test_every_field_of_the_nested_arguments_is_declared(name: str):
    function = inspect.unwrap(OPERATIONS[name].function)
    hints = get_type_hints(function, include_extras=True)
    model = _arguments_model(name, inspect.signature(function), hints)
    for given in arguments(name):
        try:
            build(name, given)
        except ArgumentInvalid:
            continue
        assert {*undeclared(model.model_validate(given))} <= PASSING.get(name, set())


def undeclared(value: Any, place: str = "") -> Iterator[str]:
    if isinstance(value, BaseModel):
        if isinstance(value, Request):
            yield from (f"{place}.{key}" for key in value.model_extra or {})
        for key in type(value).model_fields:
            yield from undeclared(getattr(value, key), f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            yield from undeclared(item, f"{place}[]")


HOSTILE = ["../x", "a/b", "a?b=c", "a#b", "a%2fb", "%2e%2e", "a\\b", "a b", "é", "a\n", "\0", "a;b", "//evil", "..%2f"]


@pytest.mark.parametrize("name", [name for name, entry in OPERATIONS.items() if "{" in entry.path])
def test_no_id_of_any_operation_leaves_its_segment_of_the_path(name: str):
    entry = OPERATIONS[name]
    ids = [key for key, parameter in entry.parameters.items() if parameter.kind is parameter.POSITIONAL_ONLY]
    rest = {key: value for key, value in arguments(name)[-1].items() if key not in ids} if entry.in_contract else {}
    for hostile in HOSTILE:
        segments = entry.function(*[hostile] * len(ids), **rest).path.split("/")
        template = entry.path.split("/")
        assert len(segments) == len(template)
        for segment, wanted in zip(segments, template, strict=True):
            assert unquote(segment) == (hostile if wanted.startswith("{") else wanted)
            assert not re.search(r"[?#\\\s]", segment)
    for key in ids:
        for nothing in ("", ".", "..", None, 5, ["x"], b"x"):
            with pytest.raises(ArgumentInvalid, match=rf"\b{key} must be"):
                entry.function(**rest, **dict.fromkeys(ids, "x") | {key: nothing})
