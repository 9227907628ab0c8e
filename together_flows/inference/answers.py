"""What an answer is worth: a part that goes into the output, media that go beside it, and tokens that were paid."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from together_flows.errors import AnswerInvalid

__all__ = ["Address", "AnswerParts", "parts_of", "suffix_of"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a picture or a video lies for a while. Whoever has it may read it, so it never gets into the output."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AnswerParts:
    """An answer, taken apart.

    Attributes:
        response: what goes into the output, without bytes and without addresses that expire.
        media: what goes into files, or the address where it lies, in the order of the answer.
        prompt_tokens: tokens that were read.
        completion_tokens: tokens that were written.
    """

    response: Any
    media: Sequence[bytes | Address] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0


def parts_of(answer: Any) -> AnswerParts:
    """Take an answer apart.

    Args:
        answer: bytes, or plain JSON data.

    Raises:
        AnswerInvalid: it is not what the API promises.
    """
    if isinstance(answer, bytes):
        if not answer:
            raise AnswerInvalid("The answer has no bytes.")
        return AnswerParts(None, [answer])
    if not isinstance(answer, Mapping):
        raise AnswerInvalid("The answer is no object.")
    usage = answer.get("usage") or {}
    rows = answer.get("data")
    response: dict[str, Any] = dict(answer)
    media = []
    if isinstance(rows, list) and any(_has_medium(row) for row in rows):
        response["data"] = [{key: value for key, value in row.items() if key not in _MEDIUM} for row in rows]
        media = [_medium(row) for row in rows if _has_medium(row)]
    return AnswerParts(response, media, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


_MEDIUM = ("b64_json", "url")

_SIGNATURES = (
    (b"\x89PNG", 0, "png"),
    (b"\xff\xd8\xff", 0, "jpg"),
    (b"WEBP", 8, "webp"),
    (b"WAVE", 8, "wav"),
    (b"ID3", 0, "mp3"),
    (b"\xff\xfb", 0, "mp3"),
    (b"\xff\xf3", 0, "mp3"),
    (b"OggS", 0, "ogg"),
    (b"fLaC", 0, "flac"),
    (b"ftyp", 4, "mp4"),
    (b"\x1a\x45\xdf\xa3", 0, "webm"),
)


def suffix_of(content: bytes) -> str:
    """The suffix of a file name that its content calls for; `bin` for what has no mark, such as raw sound.

    Args:
        content: the content, or its first 12 bytes.
    """
    for mark, offset, suffix in _SIGNATURES:
        if content[offset : offset + len(mark)] == mark:
            return suffix
    return "bin"


def _has_medium(row: Any) -> bool:
    return isinstance(row, Mapping) and any(isinstance(row.get(name), str) for name in _MEDIUM)


def _medium(row: Mapping[str, Any]) -> bytes | Address:
    content = row.get("b64_json")
    return _decoded(content) if isinstance(content, str) else Address(row["url"])


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise AnswerInvalid(f"The picture is no base64: {error}.") from None


def _count(usage: Any, name: str) -> int:
    number = usage.get(name) if isinstance(usage, Mapping) else None
    return number if isinstance(number, int) and number > 0 else 0
