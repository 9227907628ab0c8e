"""Keeping secrets out of everything that is shown: messages, bodies, logs."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import SecretStr

__all__ = ["Redactor", "secrets_in"]

MASK = "**********"

# A secret shorter than this would mask parts of ordinary words.
_SHORTEST_SECRET = 6


class Redactor:
    """Masks known secrets wherever they appear. It looks them up only when there is something to mask."""

    def __init__(self, secrets: Iterable[SecretStr] = ()) -> None:
        self._given = secrets

    @functools.cached_property
    def _longest_first(self) -> list[str]:
        """In this order a secret that contains another is masked as a whole."""
        revealed = {secret.get_secret_value().strip() for secret in self._given}
        return sorted((secret for secret in revealed if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text with every known secret masked."""
        for secret in self._longest_first:
            text = text.replace(secret, MASK)
        return text

    def data(self, value: Any) -> Any:
        """JSON-like data with every known secret masked, in keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.data(key): self.data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        return value


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
