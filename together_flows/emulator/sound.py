"""Sound: a text as a row of short tones, one for each character, in the encodings and containers of the API.

Nobody would call it speech, but it lasts as long as the text is, every player plays it, and what the emulator has
spoken it can write down again: a WAV or MP3 file carries its text as a comment, and raw samples are told by their
tones. An MP3 is silent, because encoding tones would take a library; it is a valid stream of the right length.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from together_flows.emulator.tokens import words

__all__ = [
    "ENCODINGS",
    "MP3_RATES",
    "TONE_SECONDS",
    "Listener",
    "Recording",
    "invented_text",
    "mp3",
    "read_recording",
    "tones",
    "wav",
]

TONE_SECONDS = 0.05

ENCODINGS = {"pcm_f32le": (3, 4), "pcm_s16le": (1, 2), "pcm_alaw": (6, 1), "pcm_mulaw": (7, 1)}
"""Each encoding's tag in a WAV file, and its bytes per sample."""

MP3_RATES = (44100, 48000, 32000)
"""Samples per second that MPEG-1 has, in the order of their codes."""

_TONES_PER_WORD = 8
"""How long a word lasts that is made up for a recording of somebody else."""


class Recording(NamedTuple):
    """What is known of a recording.

    Attributes:
        text: what was spoken, where the emulator itself spoke it.
        seconds: how long it lasts.
    """

    text: str | None
    seconds: float


def tones(text: str, *, rate: int, encoding: str) -> Iterator[bytes]:
    """The encoded samples of the text, character by character."""
    return (_tone(character, rate, encoding) for character in text)


def wav(text: str, *, rate: int, encoding: str) -> bytes:
    """The text as a WAV file."""
    tag, width = ENCODINGS[encoding]
    samples = b"".join(tones(text, rate=rate, encoding=encoding))
    layout = struct.pack("<HHIIHHH", tag, 1, rate, rate * width, width, width * 8, 0)
    comment = b"INFO" + _riff(b"ICMT", text.encode() + b"\0")
    chunks = (_riff(b"fmt ", layout), _riff(b"fact", struct.pack("<I", len(samples) // width)))
    return _riff(b"RIFF", b"WAVE" + b"".join(chunks) + _riff(b"LIST", comment) + _riff(b"data", samples))


def mp3(text: str, *, rate: int, bit_rate: int) -> bytes:
    """As much silence as the text is long, as an MP3 file that carries the text in its tag."""
    rates = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
    mono, no_checksum = 0xC0, 0xFB
    header = bytes((0xFF, no_checksum, rates.index(bit_rate // 1000) << 4 | MP3_RATES.index(rate) << 2, mono))
    frame = header.ljust(144 * bit_rate // rate, b"\0")
    count = math.ceil(len(text) * TONE_SECONDS * rate / 1152)
    return _id3(text) + frame * count


def read_recording(file: BinaryIO) -> Recording | None:
    """What a file in one of the API's formats holds; None for a file in no such format."""
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return _read_wav(file)
    size = file.seek(0, io.SEEK_END)
    if head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0"):
        return Recording(_read_id3(file) if head[:3] == b"ID3" else None, size / 16_000)
    if head[4:8] == b"ftyp" or head[:4] in (b"fLaC", b"OggS", b"\x1aE\xdf\xa3"):
        return Recording(None, size / 16_000)
    return None


class Listener:
    """Writes down raw samples while they come in.

    Tones of the emulator are understood; of anything else as many words are made up as somebody would say meanwhile.
    """

    def __init__(self, *, rate: int, encoding: str) -> None:
        self._known = _known_tones(rate, encoding)
        self._length = int(rate * TONE_SECONDS) * ENCODINGS[encoding][1]
        self._rest = b""
        self._strange_tones = 0

    def feed(self, samples: bytes) -> str:
        """Takes samples in and returns what is new in the text."""
        self._rest += samples
        whole = len(self._rest) // self._length * self._length
        pieces = [self._rest[start : start + self._length] for start in range(0, whole, self._length)]
        self._rest = self._rest[whole:]
        return "".join(self._known.get(piece) or self._strange() for piece in pieces)

    def _strange(self) -> str:
        self._strange_tones += 1
        word, rest = divmod(self._strange_tones, _TONES_PER_WORD)
        return "" if rest else f"{_STORY[(word - 1) % len(_STORY)]} "


def invented_text(seconds: float) -> str:
    """What is written down of a recording that the emulator cannot understand; longer ones get more of it."""
    count = max(1, round(seconds / (TONE_SECONDS * _TONES_PER_WORD)))
    story = (_STORY * math.ceil(count / len(_STORY)))[:count]
    return f"{' '.join(story).capitalize()}."


_STORY = words("This is a recording that somebody else has made. The emulator cannot listen and writes these words.")


@lru_cache(maxsize=4_096)
def _tone(character: str, rate: int, encoding: str) -> bytes:
    count = int(rate * TONE_SECONDS)
    if character.isspace():
        return _encoded([0.0] * count, encoding)
    pitch = 220 + ord(character) % 997 * 3
    step = 2 * math.pi * pitch / rate
    return _encoded([0.5 * math.sin(step * i) * math.sin(math.pi * i / count) for i in range(count)], encoding)


@lru_cache(maxsize=16)
def _known_tones(rate: int, encoding: str) -> dict[bytes, str]:
    characters = [chr(code) for code in (*range(33, 127), *range(161, 592), 0x2013, 0x2014, 0x2018, 0x2019, 32)]
    return {_tone(character, rate, encoding): character for character in reversed(characters)}


def _encoded(samples: list[float], encoding: str) -> bytes:
    if encoding == "pcm_f32le":
        return struct.pack(f"<{len(samples)}f", *samples)
    whole = [round(sample * 32_767) for sample in samples]
    if encoding == "pcm_s16le":
        return struct.pack(f"<{len(whole)}h", *whole)
    return bytes(map(_mulaw if encoding == "pcm_mulaw" else _alaw, whole))


def _mulaw(sample: int) -> int:
    """A sample by the G.711 µ-law."""
    magnitude = min(abs(sample), 32_635) + 132
    exponent = magnitude.bit_length() - 8
    mantissa = magnitude >> (exponent + 3) & 0x0F
    return ~((0x80 if sample < 0 else 0) | exponent << 4 | mantissa) & 0xFF


def _alaw(sample: int) -> int:
    """A sample by the G.711 A-law."""
    magnitude = min(sample >> 3 if sample >= 0 else ~sample >> 3, 4_095)
    exponent = max(magnitude.bit_length() - 5, 0)
    mantissa = magnitude >> max(exponent, 1) & 0x0F
    return ((0x80 if sample >= 0 else 0) | exponent << 4 | mantissa) ^ 0x55


def _riff(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _read_wav(file: BinaryIO) -> Recording:
    text, per_second, size = None, 0, 0
    while len(head := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        after = file.tell() + length + length % 2
        if name == b"fmt ":
            (per_second,) = struct.unpack_from("<8xI", file.read(length).ljust(12, b"\0"))
        elif name == b"LIST":
            text = _comment(file.read(length))
        elif name == b"data":
            size = length
        file.seek(after)
    return Recording(text, size / per_second if per_second else 0.0)


def _comment(content: bytes) -> str | None:
    if content[:8] != b"INFOICMT":
        return None
    (length,) = struct.unpack_from("<I", content, 8)
    return content[12 : 12 + length].rstrip(b"\0").decode(errors="replace")


def _id3(text: str) -> bytes:
    comment = b"\3und\0" + text.encode()
    frame = b"COMM" + _spread(len(comment)) + b"\0\0" + comment
    return b"ID3\4\0\0" + _spread(len(frame)) + frame


def _read_id3(file: BinaryIO) -> str | None:
    file.seek(0)
    head = file.read(25)
    if head[10:14] != b"COMM" or head[20:25] != b"\3und\0":
        return None
    length = sum(byte << shift for byte, shift in zip(head[14:18], (21, 14, 7, 0), strict=True))
    return file.read(length - 5).decode(errors="replace")


def _spread(size: int) -> bytes:
    """A size in four bytes of seven bits."""
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
