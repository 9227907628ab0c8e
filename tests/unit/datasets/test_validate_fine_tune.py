"""Training data: four formats, their columns, turns, weights and images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.datasets.files import CHAT, only_problem, places, write_lines
from together_flows.datasets import Report, validate
from together_flows.datasets.checker import EXACT_ROWS
from together_flows.errors import ArgumentInvalid

USER, ASSISTANT = CHAT
PREFERENCE: dict[str, Any] = {
    "input": {"messages": [USER]},
    "preferred_output": [ASSISTANT],
    "non_preferred_output": [{"role": "assistant", "content": "No"}],
}
GOOD: dict[str, dict[str, Any]] = {
    "conversation": {"messages": CHAT},
    "instruction": {"prompt": "Hello", "completion": "Hi"},
    "preference": PREFERENCE,
    "text": {"text": "Hello"},
}
TOOL_CHAT = [
    USER,
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
    {"role": "tool", "content": "5", "tool_call_id": "1"},
    {"role": "assistant", "content": "Five"},
]


def check(path: Path, *rows: object, format: str | None = None) -> Report:
    return validate(write_lines(path / "train.jsonl", rows), purpose="fine-tune", format=format)


@pytest.mark.parametrize("name", GOOD)
def test_each_format_is_told_from_its_columns(tmp_path: Path, name: str) -> None:
    report = check(tmp_path, *[GOOD[name]] * 3)
    assert report.ok
    assert (report.format, report.rows) == (name, 3)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": TOOL_CHAT, "tools": [{"type": "function", "function": {"name": "f"}}]},
        {"messages": [{"role": "system", "content": "Be brief."}, *CHAT, *CHAT], "weight": 0.5},
        {"messages": [USER, {**ASSISTANT, "weight": 0, "reasoning": "A greeting."}]},
        {"messages": [USER, {**ASSISTANT, "name": "Käthe 🦜"}], "tools": None},
        {"prompt": "", "completion": "x", "weight": 2},
    ],
)
def test_tools_weights_names_and_reasoning_are_allowed(tmp_path: Path, row: dict[str, Any]) -> None:
    assert check(tmp_path, row).ok


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        ({"messages": [USER, {"role": "bot", "content": "Hi"}]}, "messages[1].role", '"bot" is not a role'),
        ({"messages": [USER, USER, ASSISTANT]}, "messages[1].role", 'Two messages in a row are by "user"'),
        ({"messages": [USER]}, "messages", 'No message is by "assistant"'),
        ({"messages": []}, "messages", "The list is empty"),
        ({"messages": "Hello"}, "messages", "a string, not a list"),
        ({"messages": [USER, "Hi", ASSISTANT]}, "messages[1]", "a string, not a message"),
        ({"messages": [{"content": "Hello"}, ASSISTANT]}, "messages[0]", 'no "role"'),
        ({"messages": [{"role": "user"}, ASSISTANT]}, "messages[0]", 'no "content"'),
        ({"messages": [{"role": "user", "content": 5}, ASSISTANT]}, "messages[0].content", "a number, not text"),
        ({"messages": [USER, {**ASSISTANT, "weight": 2}]}, "messages[1].weight", "2 is not a weight"),
        ({"messages": [USER, {**ASSISTANT, "weight": True}]}, "messages[1].weight", "true is not a weight"),
        ({"messages": [USER, {**ASSISTANT, "tool_calls": "f"}]}, "messages[1].tool_calls", "not a list of objects"),
        ({"messages": CHAT, "tools": [1]}, "tools", "not a list of objects"),
        ({"messages": CHAT, "label": 1}, "label", "no such column"),
        ({"prompt": "Hello", "completion": "Hi", "label": 1}, "label", "no such column"),
        ({"text": "Hello", "label": 1}, "label", "no such column"),
        ({**PREFERENCE, "label": 1}, "label", "no such column"),
        ({"messages": CHAT, "weight": -1}, "weight", "-1 is not a weight"),
        ({"messages": CHAT, "weight": "much"}, "weight", '"much" is not a weight'),
        ({"prompt": "Hello", "completion": 3}, "completion", "a number, not text"),
        ({"text": ["Hello"]}, "text", "an array, not text"),
        ({**PREFERENCE, "input": {"messages": CHAT}}, "input.messages[1].role", "The last message is by"),
        ({**PREFERENCE, "input": [USER]}, "input", 'no "messages"'),
        ({**PREFERENCE, "preferred_output": CHAT}, "preferred_output", "2 messages"),
        ({**PREFERENCE, "preferred_output": []}, "preferred_output", "empty"),
        ({**PREFERENCE, "non_preferred_output": [USER]}, "non_preferred_output[0].role", 'by "user"'),
        ({"words": "Hello"}, "", "make up no format"),
        ({"text": "Hello", "prompt": "Hello", "completion": "Hi"}, "", "mixes the formats instruction and text"),
    ],
)
def test_each_rule_names_its_place_and_its_mend(tmp_path: Path, row: dict[str, Any], column: str, words: str) -> None:
    report = check(tmp_path, row)
    found = [problem for problem in report.problems if problem.column == column and words in problem.message]
    assert len(found) == 1, [str(problem) for problem in report.problems]
    assert found[0].line == 1
    assert found[0].mend.endswith((".", "}."))

    alike = next((good for good in GOOD.values() if good.keys() <= row.keys()), GOOD["text"])
    late = check(tmp_path, *[alike] * EXACT_ROWS, row)
    assert late.problem_count >= 1, "the quick check let it pass"
    if report.format:
        assert places(late) == [(EXACT_ROWS + 1, place) for _, place in places(report)]


def test_a_problem_reads_as_place_message_and_mend(tmp_path: Path) -> None:
    bad = {"messages": [USER, {"role": "bot", "content": "Hi"}, ASSISTANT]}
    report = check(tmp_path, GOOD["conversation"], GOOD["conversation"], bad)
    expected = 'line 3, messages[1].role: "bot" is not a role. Use one of system, user, assistant, tool.'
    assert str(only_problem(report)) == expected


def test_all_problems_of_all_lines_are_told(tmp_path: Path) -> None:
    report = check(
        tmp_path,
        {"messages": [{"role": "bot", "content": 1}], "extra": 1},
        GOOD["conversation"],
        "{broken",
        {"messages": []},
    )
    assert places(report) == [
        (1, "extra"),
        (1, "messages[0].role"),
        (1, "messages[0].content"),
        (1, "messages"),
        (3, ""),
        (4, "messages"),
    ]
    assert report.rows == 4


def test_one_file_has_one_format(tmp_path: Path) -> None:
    problem = only_problem(check(tmp_path, GOOD["text"], GOOD["instruction"], GOOD["text"]))
    assert problem.line == 2
    assert "in the format instruction; the format of the file is text" in problem.message


def test_a_line_that_lacks_a_column_of_the_files_format_is_told_which(tmp_path: Path) -> None:
    problem = only_problem(check(tmp_path, GOOD["instruction"], {"prompt": "Hello"}))
    assert (problem.line, problem.column) == (2, "completion")


def test_a_demanded_format_is_held_against_every_line(tmp_path: Path) -> None:
    assert check(tmp_path, GOOD["text"], format="text").ok
    problem = only_problem(check(tmp_path, GOOD["text"], format="conversation"))
    assert "the format asked for is conversation" in problem.message


def test_a_format_of_another_purpose_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentInvalid, match="conversation, instruction, preference, text"):
        check(tmp_path, GOOD["text"], format="batch")


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


PNG = image("data:image/png;base64,iVBORw0KGgo=")


def parts(*content: object, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(content)}


SEEN = parts({"type": "text", "text": "A bird."}, role="assistant")


def test_embedded_images_are_allowed(tmp_path: Path) -> None:
    assert check(tmp_path, {"messages": [parts({"type": "text", "text": "What is it?"}, PNG), SEEN]}).ok


@pytest.mark.parametrize(
    ("messages", "column", "words"),
    [
        ([parts(PNG), ASSISTANT], "messages", "mixes messages of plain text"),
        ([parts(image("https://example.com/a.png")), SEEN], "messages[0].content[0]", "not an embedded image"),
        ([parts(*[PNG] * 11), SEEN], "messages", "11 images"),
        ([parts({"type": "text", "text": "?"}), parts(PNG, role="assistant")], "messages[1].content[0]", 'by "assis'),
        ([parts({"type": "image_url"}), SEEN], "messages[0].content[0]", "holds no image"),
        ([parts({"type": "text"}), SEEN], "messages[0].content[0]", "holds no text"),
        ([parts("What?"), SEEN], "messages[0].content[0]", "not a part"),
        ([parts(), SEEN], "messages[0].content", "empty"),
    ],
)
def test_images_have_their_rules(tmp_path: Path, messages: list[Any], column: str, words: str) -> None:
    problem = only_problem(check(tmp_path, {"messages": messages}))
    assert problem.column == column
    assert words in problem.message


def test_an_image_beyond_ten_mebibytes_is_refused(tmp_path: Path) -> None:
    large = image("data:image/png;base64," + "A" * (14 << 20))
    problem = only_problem(check(tmp_path, {"messages": [parts(large), SEEN]}))
    assert problem.message == "The image is larger than 10 MiB."


def test_a_bad_line_is_found_among_the_many_that_pass_quickly(tmp_path: Path) -> None:
    rows: list[object] = [GOOD["conversation"]] * (3 * EXACT_ROWS)
    rows[2 * EXACT_ROWS] = {"messages": [USER, USER]}
    report = check(tmp_path, *rows)
    assert places(report) == [(2 * EXACT_ROWS + 1, "messages[1].role"), (2 * EXACT_ROWS + 1, "messages")]
    assert report.rows == 3 * EXACT_ROWS


def test_the_quick_check_counts_as_many_tokens_as_the_exact_rules(tmp_path: Path) -> None:
    for row in (*GOOD.values(), {"messages": TOOL_CHAT}, {"messages": [USER, {**ASSISTANT, "reasoning": "äöü"}]}):
        exact = check(tmp_path, *[row] * EXACT_ROWS)
        both = check(tmp_path, *[row] * (2 * EXACT_ROWS))
        assert both.approximate_tokens == pytest.approx(2 * exact.approximate_tokens, abs=1)


def test_a_repeated_key_is_found(tmp_path: Path) -> None:
    twice = '{"messages": [{"role": "user", "role": "user", "content": "Hello"}, {"role": "assistant", "content": ""}]}'
    problem = only_problem(check(tmp_path, twice))
    assert problem.column == "messages[0].role"
    assert "more than once" in problem.message


def test_csv_is_refused_and_parquet_is_known_by_its_marks(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("prompt,completion\na,b\n")
    csv = only_problem(validate(tmp_path / "train.csv", purpose="fine-tune"))
    assert "must be .jsonl or .parquet" in csv.message
    good = tmp_path / "good.parquet"
    good.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    assert validate(good, purpose="fine-tune").ok
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(b"PAR1" + bytes(100))
    assert "cut short" in only_problem(validate(cut, purpose="fine-tune")).message
    other = tmp_path / "other.parquet"
    other.write_text(json.dumps(GOOD["text"]))
    assert "not a Parquet file" in only_problem(validate(other, purpose="fine-tune")).message
