"""Secrets stay out of everything that is shown."""

from __future__ import annotations

import base64
import html
import json
import re
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import SecretStr

from together_flows.api import deployments
from together_flows.client._redaction import MASK, Redactor, secrets_in, without_secrets

secrets = st.text(alphabet="abcdefXYZ0123456789_-", min_size=6, max_size=30)


@given(secrets, st.text(), st.text())
def test_a_secret_is_masked_wherever_it_stands(secret: str, before: str, after: str) -> None:
    assume(secret not in MASK)
    text = Redactor([SecretStr(secret)]).text(f"{before}{secret}{after}")

    assert secret not in text
    assert MASK in text


def test_a_secret_that_contains_another_is_masked_as_a_whole() -> None:
    redactor = Redactor([SecretStr("abcdef"), SecretStr("abcdef-and-more")])

    assert redactor.text("abcdef-and-more") == MASK


#: Written otherwise in JSON, in a URL, in HTML and in Python.
AWKWARD = 'pass"word/+%é&<\\>\nsecond line\n'
WRITTEN = {
    "json": json.dumps(AWKWARD),
    "json as it is": json.dumps(AWKWARD, ensure_ascii=False),
    "json in json": json.dumps(json.dumps({"value": AWKWARD})),
    "url": quote(AWKWARD),
    "query": urlencode({"value": AWKWARD}),
    "html": html.escape(AWKWARD),
    "python": repr(AWKWARD),
    "bytes": repr(AWKWARD.encode()),
    "base64": base64.b64encode(AWKWARD.encode()).decode(),
    "base64 without the last line break": base64.b64encode(AWKWARD.strip().encode()).decode(),
    "one line": " ".join(AWKWARD.split()),
}


@pytest.mark.parametrize("form", WRITTEN)
def test_a_secret_is_masked_however_it_is_written(form: str) -> None:
    text = Redactor([SecretStr(AWKWARD)]).text(f"refused: {WRITTEN[form]}!")

    assert MASK in text
    assert not re.search("pass.?word|second|second line|cGFzcyJ3b3Jk", text)


def test_a_body_in_which_a_secret_was_masked_is_still_json() -> None:
    body = Redactor([SecretStr(AWKWARD)]).body(json.dumps({"sent": AWKWARD, AWKWARD: 1}).encode())

    assert json.loads(body) == {"sent": MASK, MASK: 1} or json.loads(body) == {"sent": f"{MASK}\n", f"{MASK}\n": 1}


def test_words_are_not_masked_because_a_secret_is_short() -> None:
    assert Redactor([SecretStr("the")]).text("the other") == "the other"


def test_secrets_are_masked_in_nested_data_and_in_keys() -> None:
    data = {"a": ["secret-1", {"secret-1": ("x secret-1", 7, None)}]}

    assert Redactor([SecretStr("secret-1")]).data(data) == {"a": [MASK, {MASK: [f"x {MASK}", 7, None]}]}


def test_all_secrets_of_an_operation_are_found() -> None:
    body: Any = {"a": SecretStr("one"), "b": [{"c": SecretStr("two")}, ({"d": SecretStr("three")},)], "e": 1}

    assert {found.get_secret_value() for found in secrets_in(body)} == {"one", "two", "three"}


def test_an_answer_is_kept_without_the_secrets_that_were_sent_and_those_that_came() -> None:
    asked = deployments.create(
        gpu_type="g", image="i", name="n", environment_variables=[{"name": "A", "value": "sent-secret"}]
    )
    answer = {
        "id": "d",
        "note": "took sent-secret",
        "environment_variables": [{"name": "A", "value": "other-secret"}, {"name": "B", "value_from_secret": "b"}],
        "data": [{"kube_config": "a config", "parameters": {"judge": {"external_api_token": "t"}, "hf_token": None}}],
    }

    assert without_secrets(asked, answer) == {
        "id": "d",
        "note": f"took {MASK}",
        "environment_variables": [{"name": "A", "value": MASK}, {"name": "B", "value_from_secret": "b"}],
        "data": [{"kube_config": MASK, "parameters": {"judge": {"external_api_token": MASK}, "hf_token": None}}],
    }
