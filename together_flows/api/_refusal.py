"""What was wrong with an argument or an answer, in words that name the field, what is allowed and what was given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

__all__ = ["reasons"]

#: The kinds of error whose value may be shown. They arise from numbers, from choices and from names that must match a
#: pattern; no secret is any of these. Elsewhere only the type of the value is shown.
_SHOWN = frozenset(
    {
        "bool_parsing",
        "enum",
        "finite_number",
        "float_parsing",
        "greater_than",
        "greater_than_equal",
        "int_from_float",
        "int_parsing",
        "less_than",
        "less_than_equal",
        "literal_error",
        "multiple_of",
        "string_pattern_mismatch",
        "union_tag_invalid",
    }
)

#: Kinds that mean a wrong type and do not end in `_type`.
_OF_WRONG_TYPE = frozenset({"is_instance_of", "sequence_str"})

#: The longest value that is shown, in characters, and the most fields that are told.
_LONGEST = 60
_MOST = 20


def reasons(error: ValidationError, given: Any) -> str:
    """One sentence for each refused field of `given`.

    A value that fits no branch of a union is told once, with what each branch allows; if it fits one branch but for
    something inside it, only that is told.
    """
    problems: dict[tuple[int | str, ...], list[ErrorDetails]] = {}
    for problem in error.errors(include_url=False):
        problems.setdefault(tuple(_place(problem, given)), []).append(problem)
    outer = {place[:length] for place in problems for length in range(len(place))}
    innermost = [place for place in problems if place not in outer]
    sentences = [_sentence(place, problems[place]) for place in innermost[:_MOST]]
    if len(innermost) > _MOST:
        sentences.append(f"and {len(innermost) - _MOST} more")
    return "; ".join(sentences)


def _place(problem: ErrorDetails, given: Any) -> Iterator[int | str]:
    """The path of the refused field: the parts of the error's location that lead through the data.

    The other parts name branches of unions.
    """
    parts = problem["loc"]
    for position, part in enumerate(parts):
        last = position == len(parts) - 1
        if _leads_on(part, given):
            given = given[part]
        elif not (last and problem["type"] == "missing"):
            continue
        yield part
    if problem["type"].startswith("union_tag") and isinstance(given, Mapping):
        yield problem.get("ctx", {}).get("discriminator", "").strip("'")


def _leads_on(part: int | str, given: Any) -> bool:
    if isinstance(given, Mapping):
        return part in given
    return isinstance(part, int) and isinstance(given, list | tuple) and part < len(given)


def _sentence(place: tuple[int | str, ...], problems: Sequence[ErrorDetails]) -> str:
    said = list(dict.fromkeys(_words(problem) for problem in problems))
    words = [said[0], *(word.removeprefix("must be ") for word in said[1:])]
    field = ".".join(str(part) for part in place) or "it"
    return f"{field} {' or '.join(words)}{_shown(problems[-1])}"


def _words(problem: ErrorDetails) -> str:
    context = problem.get("ctx", {})
    match problem["type"]:
        case "union_tag_not_found" if not isinstance(problem["input"], Mapping):
            return "must be a dict"
        case "missing" | "union_tag_not_found":
            return "is required"
        case "union_tag_invalid":
            return f"must be one of {context['expected_tags']}"
        case "value_error":
            return str(context["error"])
        case "model_type" | "model_attributes_type" | "dict_type":
            return "must be a dict"
        case "string_pattern_mismatch":
            return f"must match {context['pattern']}"
        case "too_short" | "string_too_short":
            return f"must have at least {_counted(context['min_length'], problem)}"
        case "too_long" | "string_too_long":
            return f"must have at most {_counted(context['max_length'], problem)}"
        case "list_type" | "tuple_type" | "sequence_str":
            return "must be a list"
        case "is_instance_of" if context["class"] == "Sequence":
            return "must be a list"
    words = problem["msg"].partition(", unable to")[0].replace("Input should be", "must be", 1)
    return words.replace("must be a valid integer", "must be an integer").replace("must be a valid ", "must be a ")


def _counted(number: int, problem: ErrorDetails) -> str:
    unit = "character" if isinstance(problem["input"], str) else "item"
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _shown(problem: ErrorDetails) -> str:
    given, kind = problem["input"], problem["type"]
    if kind == "union_tag_not_found" and not isinstance(given, Mapping):
        return f" (got {type(given).__name__})"
    if kind in {"missing", "union_tag_not_found", "value_error"}:
        return ""
    if kind == "union_tag_invalid":
        given = problem.get("ctx", {}).get("tag")
    if kind in _SHOWN and isinstance(given, bool | int | float | str) and len(text := repr(given)) <= _LONGEST:
        return f" (got {text})"
    return f" (got {type(given).__name__})" if kind.endswith("_type") or kind in _OF_WRONG_TYPE else ""
