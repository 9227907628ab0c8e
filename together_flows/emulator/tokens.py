"""The emulator's tokens: short pieces of words, numbers and signs. They stand in for every model's tokenizer."""

from __future__ import annotations

import re

__all__ = ["count_tokens", "split_tokens", "words"]

_TOKEN = re.compile(r"\s*(?:[^\W\d_]{1,7}|\d{1,3}|[^\s\w]|_)|\s+")
_WORD = re.compile(r"[^\W_]+")


def split_tokens(text: str) -> list[str]:
    """The text in pieces that, joined, are the text again."""
    return _TOKEN.findall(text)


def count_tokens(text: str) -> int:
    """How many tokens the text has."""
    return len(_TOKEN.findall(text))


def words(text: str) -> list[str]:
    """The words of the text in lower case, without signs."""
    return _WORD.findall(text.lower())
