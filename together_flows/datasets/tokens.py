"""A rough count of tokens, good enough to show a price before money is spent and never used to bill.

The rule: four bytes of UTF-8 are one token, and each chat message costs four more for its template. English text comes
out within about a quarter of what common tokenizers count; counting bytes rather than characters keeps scripts that
need several bytes a character, such as Chinese or Hindi, in the same range. Images and audio are not counted.
"""

from __future__ import annotations

BYTES_PER_TOKEN = 4
TOKENS_PER_MESSAGE = 4


def estimate_tokens(text: str) -> int:
    """Estimate how many tokens a text has: its UTF-8 length in bytes divided by four, rounded up."""
    return tokens_of(utf8_length(text))


def tokens_of(text_bytes: int, messages: int = 0) -> int:
    """Estimate the tokens of `text_bytes` bytes of text that are spread over `messages` chat messages."""
    return -(-text_bytes // BYTES_PER_TOKEN) + messages * TOKENS_PER_MESSAGE


def utf8_length(text: str) -> int:
    """The length of a text in bytes, without encoding it when it is plain ASCII."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
