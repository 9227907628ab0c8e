"""What must hold for any input."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.datasets.files import answer, error, read_lines, write_lines
from together_flows.datasets import BatchInput, Report, merge_results, read_marker, repair_input, salt, validate
from together_flows.datasets.marker import with_marker

PURPOSES = [
    ("fine-tune", "jsonl"),
    ("fine-tune", "parquet"),
    ("batch-api", "jsonl"),
    ("eval", "jsonl"),
    ("eval", "csv"),
]
MARKERS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=64)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def maybe(good: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly a good value, sometimes any JSON."""
    return st.one_of(good, good, good, good, json_values)


def record(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


roles = st.sampled_from(["system", "user", "assistant", "tool", "function", "bot"])
part = record({"type": st.sampled_from(["text", "image_url", "x"])}, {"text": maybe(st.text(max_size=3))})
message = record(
    {"role": maybe(roles)},
    {
        "content": maybe(st.text(max_size=5) | st.none() | st.lists(part, max_size=2)),
        "weight": maybe(st.sampled_from([0, 1])),
        "tool_calls": maybe(st.lists(st.just({"id": "1"}), max_size=2)),
        "reasoning": maybe(st.text(max_size=3)),
        "name": json_values,
    },
)
chat = st.just([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]) | st.lists(
    message, max_size=3
)
answers = st.just([{"role": "assistant", "content": "b"}]) | st.lists(message, max_size=2)
tools = maybe(st.lists(st.just({"type": "function"}), max_size=1) | st.none())
weight = {"weight": maybe(st.floats(0, 2))}
training_formats = {
    "conversation": record({"messages": maybe(chat)}, {"tools": tools, "extra": json_values} | weight),
    "instruction": record({"prompt": maybe(st.text()), "completion": maybe(st.text())}, weight),
    "text": record({"text": maybe(st.text())}, weight),
    "preference": record(
        {
            "input": maybe(record({"messages": maybe(chat)}, {"tools": tools})),
            "preferred_output": maybe(answers),
            "non_preferred_output": maybe(answers),
        },
        weight,
    ),
}
training_rows = st.one_of(*training_formats.values(), json_values)
request_rows = record(
    {"custom_id": maybe(st.text(min_size=1, max_size=66)), "body": maybe(record({"model": maybe(st.text())}, {}))}, {}
) | record(
    {
        "custom_id": st.text(min_size=1, max_size=3),
        "body": record({"model": maybe(st.just("m")), "messages": maybe(chat)}, {"stop": json_values}),
    },
    {"extra": json_values},
)
eval_rows = st.dictionaries(st.sampled_from(["a", "b"]), json_values, max_size=2) | json_values


@given(st.lists(st.binary(max_size=60) | training_rows.map(json.dumps).map(str.encode), max_size=6), st.integers(0, 4))
@settings(max_examples=150, deadline=None)
def test_validate_reports_and_never_raises_whatever_the_bytes(pieces: list[bytes], choice: int) -> None:
    purpose, suffix = PURPOSES[choice]
    content = b"\n".join(pieces)
    with folder() as here:
        (here / f"data.{suffix}").write_bytes(content)
        report = validate(here / f"data.{suffix}", purpose=purpose)  # type: ignore[arg-type]  # it is one of them
    assert report.bytes == len(content)
    assert report.ok == (report.problems == ())
    assert all(str(problem) for problem in report.problems)


@st.composite
def datasets(draw: st.DrawFn) -> tuple[str, str | None, list[Any]]:
    """A purpose, a format, and rows of it of which some are wrong."""
    purpose = draw(st.sampled_from(["fine-tune", "fine-tune", "batch-api", "eval"]))
    if purpose == "fine-tune":
        name = draw(st.sampled_from(sorted(training_formats)))
        return purpose, name, draw(st.lists(training_formats[name] | training_rows, min_size=1, max_size=4))
    rows = request_rows if purpose == "batch-api" else eval_rows
    return purpose, None, draw(st.lists(rows, min_size=1, max_size=4))


@given(datasets())
@settings(max_examples=400, deadline=None)
def test_the_quick_check_never_accepts_what_the_exact_rules_refuse(case: tuple[Any, str | None, list[Any]]) -> None:
    purpose, name, rows = case
    first = [{"a": 1, "b": 2}] if purpose == "eval" else []

    def check(exact_rows: int) -> Report:
        with patch("together_flows.datasets.checker.EXACT_ROWS", exact_rows):
            return validate(path, purpose=purpose, format=name)

    with folder() as here:
        path = write_lines(here / "data.jsonl", [*first, *rows])
        quick, exact = check(len(first)), check(100)
    assert quick.problems == exact.problems
    assert (quick.format, quick.models, quick.rows) == (exact.format, exact.models, exact.rows)


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip), min_size=1),
    st.integers(1, 7),
    st.integers(700, 2000),
    st.just("") | MARKERS,
)
@settings(max_examples=60, deadline=None)
def test_shards_hold_every_row_once_in_order_and_within_the_limits(
    prompts: list[str], max_rows: int, max_bytes: int, marker: str
) -> None:
    arguments: dict[str, Any] = {"model": "m", "max_rows": max_rows, "max_bytes": max_bytes + 600, "marker": marker}
    with folder() as here:
        batch = BatchInput.from_rows(prompts, here / "a", **arguments)
        lines = [line for shard in batch.shards for line in read_lines(shard.path)]
        assert [line["body"]["messages"][0]["content"] for line in lines] == prompts
        assert [line["custom_id"] for line in lines] == [f"row-{i:09d}" for i in range(len(prompts))]
        assert all(shard.rows <= max_rows and shard.bytes <= max_bytes + 600 for shard in batch.shards)
        assert [shard.first_row for shard in batch.shards] == [
            sum(earlier.rows for earlier in batch.shards[:i]) for i in range(len(batch.shards))
        ]
        assert [(read_marker(shard.path) or "") for shard in batch.shards] == [marker] * len(batch.shards)
        again = BatchInput.from_rows(iter(prompts), here / "b", **arguments)
        assert [shard.sha256 for shard in again.shards] == [shard.sha256 for shard in batch.shards]


@st.composite
def results(draw: st.DrawFn) -> tuple[int, list[list[object]], dict[int, set[str]]]:
    """The size of a batch, result files in any order with all that can go wrong, and what they say of each row."""
    count = draw(st.integers(1, 8))
    lines: list[object] = []
    told: dict[int, set[str]] = {}
    for row in range(count):
        for kind in draw(st.lists(st.sampled_from(["answer", "error"]), max_size=3)):
            told.setdefault(row, set()).add(kind)
            lines.append((answer if kind == "answer" else error)(f"row-{row:09d}"))
    lines += draw(st.lists(st.sampled_from([answer("stranger"), b"{cut", b"", b"7", b"\xff"]), max_size=3))
    shuffled = draw(st.permutations(lines))
    cut = draw(st.integers(0, len(shuffled)))
    return count, [shuffled[:cut], shuffled[cut:]], told


@given(results())
@settings(max_examples=120, deadline=None)
def test_a_merge_has_one_line_for_every_row_whatever_comes_back(
    case: tuple[int, list[list[object]], dict[int, set[str]]],
) -> None:
    count, files, told = case
    with folder() as here:
        batch = BatchInput.from_rows((f"prompt {i}" for i in range(count)), here / "batch", model="m", max_rows=3)
        outputs, errors = (write_lines(here / f"{i}.jsonl", rows) for i, rows in enumerate(files))
        summary = merge_results(batch, [outputs], [errors], here / "merged.jsonl")
        lines = read_lines(here / "merged.jsonl")
        repair = repair_input(batch, here / "merged.jsonl", here / "repair")
        repaired = [row.custom_id for row in repair.read_rows()] if repair else []

    assert [line["index"] for line in lines] == list(range(count))
    expected = [
        "succeeded" if "answer" in told.get(row, ()) else "failed" if row in told else "missing" for row in range(count)
    ]
    assert [line["status"] for line in lines] == expected
    assert (summary.succeeded, summary.failed, summary.missing) == tuple(
        expected.count(status) for status in ("succeeded", "failed", "missing")
    )
    assert repaired == [line["custom_id"] for line in lines if line["status"] != "succeeded"]
    accounted = summary.unknown_ids + summary.corrupt_lines + summary.duplicates + sum(map(len, told.values()))
    assert accounted == sum(line != b"" for rows in files for line in rows)


@given(
    st.dictionaries(st.text(max_size=5), json_values, max_size=3), st.sampled_from(["", " ", "\t", "\t\t \t"]), MARKERS
)
@settings(max_examples=150, deadline=None)
def test_a_marker_is_read_back_and_the_objects_stay_equal(value: dict[str, Any], space: str, marker: str) -> None:
    line = json.dumps(value).replace("{", "{" + space, 1)
    with folder() as here:
        source = write_lines(here / "a.jsonl", [line, line])
        salt(source, here / "b.jsonl", marker)
        assert read_marker(here / "b.jsonl") == marker
        assert read_lines(here / "b.jsonl") == read_lines(source)
        salt(here / "b.jsonl", here / "c.jsonl", "")
        assert (here / "c.jsonl").read_bytes() == source.read_bytes()


@given(st.text(" \t", max_size=700))
@settings(deadline=None)
def test_random_white_space_is_kept_when_a_marker_comes_and_goes(space: str) -> None:
    line = ("{" + space + "}").encode()
    if with_marker(line, "") == line:  # it is no marker by chance
        assert with_marker(with_marker(line, "m"), "") == line
