"""Keeping secrets out of everything that is shown: messages, bodies, logs."""

from __future__ import annotations

import base64
import functools
import html
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any
from urllib.parse import quote, quote_plus

from pydantic import SecretStr

from together_flows.api._operation import Operation

__all__ = ["Redactor", "forms_of", "secrets_in", "without_secrets"]

MASK = "**********"

#: What the API calls secrets in its answers. The values of environment variables are taken for secrets too.
_SECRET_FIELDS = frozenset({"external_api_token", "hf_api_token", "hf_token", "kube_config", "wandb_api_key"})

# A secret shorter than this would mask parts of ordinary words.
_SHORTEST_SECRET = 6


class Redactor:
    """Masks known secrets wherever they appear. It looks them up only when there is something to mask."""

    def __init__(self, secrets: Iterable[SecretStr] = ()) -> None:
        self._given = secrets

    @functools.cached_property
    def _longest_first(self) -> list[str]:
        """In this order a secret that contains another is masked as a whole."""
        given = [secret.get_secret_value() for secret in self._given]
        revealed = {form for secret in given for form in (secret, secret.strip()) if len(form) >= _SHORTEST_SECRET}
        return sorted({form for secret in revealed for form in forms_of(secret)}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text with every known secret masked, also where it is written as in JSON, HTML, a URL or base64."""
        for secret in self._longest_first:
            text = text.replace(secret, MASK)
        return text

    def body(self, body: bytes) -> bytes:
        """An answer's body with every known secret masked. JSON stays JSON."""
        text = body.decode("utf-8", errors="replace")
        masked = self.text(text)
        return body if masked == text else masked.encode()

    def data(self, value: Any) -> Any:
        """JSON-like data with every known secret masked, in keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.data(key): self.data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        return value


def forms_of(secret: str) -> set[str]:
    """The ways in which whoever repeats a secret may write it: as it is, in JSON, HTML, a URL, Python or base64."""
    in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    nested = {json.dumps(form)[1:-1] for form in in_json}  # JSON that stands as text in other JSON
    in_python = {repr(secret)[1:-1], str(secret.encode())[2:-1]}
    in_url = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    in_base64 = {base64.b64encode(secret.encode()).decode(), base64.urlsafe_b64encode(secret.encode()).decode()}
    on_one_line = " ".join(secret.split())
    return {secret, on_one_line, html.escape(secret), *in_json, *nested, *in_python, *in_url, *in_base64}


def without_secrets(operation: Operation[Any], answer: Any) -> Any:
    """An answer as it may be stored and shown: with its secrets masked, those that were sent and those that came.

    Args:
        operation: what was asked.
        answer: JSON-like data.
    """
    return Redactor(chain(secrets_in(operation.body), secrets_in(operation.query))).data(_masked(answer))


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _masked_under(key, item) for key, item in value.items()}
    return [_masked(item) for item in value] if isinstance(value, list | tuple) else value


def _masked_under(key: Any, value: Any) -> Any:
    if key in _SECRET_FIELDS and value:
        return MASK
    if key == "environment_variables" and isinstance(value, list | tuple):
        return [
            {**variable, "value": MASK} if isinstance(variable, Mapping) and variable.get("value") else variable
            for variable in value
        ]
    return _masked(value)


def secrets_in(value: Any) -> Iterator[SecretStr]:
    """Every `SecretStr` in an operation's arguments."""
    if isinstance(value, SecretStr):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secrets_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secrets_in(item)
