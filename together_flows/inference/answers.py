"""What an answer is worth: a part that goes into the output, files that go beside it, and tokens that were paid."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from together_flows.errors import AnswerInvalid

__all__ = ["AnswerParts", "parts_of", "suffix_of"]


@dataclass(frozen=True, slots=True)
class AnswerParts:
    """An answer, taken apart.

    Attributes:
        response: what goes into the output, without bytes.
        files: what goes into files, in the order of the answer.
        prompt_tokens: tokens that were read.
        completion_tokens: tokens that were written.
    """

    response: Any
    files: Sequence[bytes] = ()
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
    response, files = dict(answer), []
    if isinstance(rows, list) and any(_holds_picture(row) for row in rows):
        response["data"] = [{key: value for key, value in row.items() if key != "b64_json"} for row in rows]
        files = [_decoded(row["b64_json"]) for row in rows if _holds_picture(row)]
    return AnswerParts(response, files, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))


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
)


def suffix_of(content: bytes) -> str:
    """The suffix of a file name that its content calls for; `bin` for what has no mark, such as raw sound."""
    for mark, offset, suffix in _SIGNATURES:
        if content[offset : offset + len(mark)] == mark:
            return suffix
    return "bin"


def _holds_picture(row: Any) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get("b64_json"), str)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise AnswerInvalid(f"The picture is no base64: {error}.") from None


def _count(usage: Any, name: str) -> int:
    number = usage.get(name) if isinstance(usage, Mapping) else None
    return number if isinstance(number, int) and number > 0 else 0
