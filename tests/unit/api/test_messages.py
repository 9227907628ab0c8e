"""Messages are checked where they are known and go through unchanged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from together_flows.api import chat
from together_flows.errors import ArgumentInvalid

TEXT = st.text(max_size=10)
NOTE = st.dictionaries(TEXT.map(lambda text: f"x-{text}"), TEXT | st.none() | st.integers(), max_size=2)

PART = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}),
    st.fixed_dictionaries(
        {"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": TEXT}, optional={"detail": TEXT})}
    ),
    st.fixed_dictionaries({"image_url": st.fixed_dictionaries({"url": TEXT})}),
    st.fixed_dictionaries(
        {"type": st.just("input_audio"), "input_audio": st.fixed_dictionaries({"data": TEXT, "format": TEXT})}
    ),
    st.fixed_dictionaries({"type": st.just("x-hologram"), "data": TEXT | st.none()}),
)
CONTENT = TEXT | st.lists(PART, max_size=3)
CALL = st.fixed_dictionaries(
    {
        "id": TEXT,
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": TEXT, "arguments": TEXT}),
        "index": st.integers(0, 9),
    }
)
MESSAGE = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": CONTENT}, optional={"name": TEXT}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": CONTENT | st.none()},
        optional={"name": TEXT, "tool_calls": st.lists(CALL, max_size=2), "reasoning": TEXT},
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "content": CONTENT, "tool_call_id": TEXT}),
    st.fixed_dictionaries({"role": st.just("function"), "content": TEXT, "name": TEXT}),
    st.fixed_dictionaries({"role": st.sampled_from(["developer", "critic"]), "content": CONTENT}),
)


def sent(messages: Any) -> Any:
    return chat.create(model="m", messages=messages).body["messages"]


@given(st.lists(st.tuples(MESSAGE, NOTE).map(lambda pair: {**pair[0], **pair[1]}), max_size=4))
def test_every_valid_message_goes_through_unchanged(messages: list[dict[str, Any]]):
    assert sent(messages) == messages


def test_models_and_dicts_can_be_mixed():
    assert sent(
        [
            chat.SystemMessage(content="Be brief."),
            {
                "role": "user",
                "content": [chat.TextPart(text="What is it?"), chat.ImagePart(image_url=chat.Link(url="u"))],
            },
            chat.AssistantMessage(
                tool_calls=[chat.ToolCall(id="1", function=chat.FunctionCall(name="f", arguments="{}"))]
            ),
        ]
    ) == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "u"}}],
        },
        {
            "role": "assistant",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
    ]


def test_an_answered_message_can_be_sent_back_as_it_came():
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "index": 0, "function": {"name": "f", "arguments": "{}"}}],
    }
    completion = chat.create(model="m", messages=[]).parse({"id": "c", "choices": [{"index": 0, "message": message}]})
    assert sent([completion.choices[0].message]) == [message]


@pytest.mark.parametrize(
    ("message", "match"),
    [
        ({"content": "x"}, r"messages\.0\.role is required"),
        ({"role": "user"}, r"messages\.0\.content is required"),
        ({"role": "user", "content": None}, r"messages\.0\.content must be a string or a list \(got NoneType\)"),
        ({"role": "user", "content": [{"type": "text"}]}, r"messages\.0\.content\.0\.text is required"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": "u"}]},
            r"content\.0\.image_url must be a dict",
        ),
        ({"role": "tool", "content": "x"}, r"messages\.0\.tool_call_id is required"),
        ("hello", r"messages\.0 must be a dict"),
    ],
)
def test_a_known_message_that_is_not_whole_is_refused(message: Any, match: str):
    with pytest.raises(ArgumentInvalid, match=match):
        sent([message])


def test_a_schema_for_the_answer_goes_through_with_its_nulls():
    schema = {"type": "object", "properties": {"a": {"type": ["string", "null"], "default": None}}}
    response_format = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    made = chat.create(model="m", messages=[], response_format=response_format)
    assert made.body["response_format"] == response_format
    with pytest.raises(ArgumentInvalid, match=r"json_schema\.name must match"):
        chat.create(model="m", messages=[], response_format={"type": "json_schema", "json_schema": {"name": "a b"}})


def test_a_response_format_that_is_new_passes():
    pattern = {"type": "regex", "pattern": "(yes|no)"}
    assert chat.create(model="m", messages=[], response_format=pattern).body["response_format"] == pattern


def test_tools_and_the_choice_among_them_go_through_unchanged():
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    choice = {"type": "function", "function": {"name": "f"}}
    made = chat.create(model="m", messages=[], tools=[tool, {"type": "search"}], tool_choice=choice)
    assert made.body["tools"] == [tool, {"type": "search"}]
    assert made.body["tool_choice"] == choice
