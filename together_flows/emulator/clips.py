"""Video clips: an MP4 file with one picture for each second, made without a video library.

Its track is coded as PNG, which the MP4 registration authority lists as object type 0x6D; FFmpeg and what builds on
it play such a file.
"""

from __future__ import annotations

import struct

from together_flows.emulator.pictures import paint

__all__ = ["clip"]

_TIMESCALE = 1000
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_PNG_OBJECT = 0x6D


def clip(prompt: str, *, width: int, height: int, seconds: int, seed: int) -> bytes:
    """The clip of a prompt: it changes its colours every second."""
    frames = [paint(prompt, width=width, height=height, seed=seed + second).png() for second in range(seconds)]
    kind = _box(b"ftyp", b"isom" + struct.pack(">I", 512) + b"isommp41")
    first = len(kind) + 8
    return kind + _box(b"mdat", *frames) + _movie([len(frame) for frame in frames], first, width, height)


def _movie(sizes: list[int], first: int, width: int, height: int) -> bytes:
    duration = len(sizes) * _TIMESCALE
    header = struct.pack(">5I", 0, 0, _TIMESCALE, duration, 0x10000) + struct.pack(">H10x", 0x100) + _MATRIX
    track = struct.pack(">6I", 0, 0, 1, 0, duration, 0) + bytes(12) + _MATRIX
    return _box(
        b"moov",
        _full_box(b"mvhd", header + bytes(24) + struct.pack(">I", 2)),
        _box(
            b"trak",
            _full_box(b"tkhd", track + struct.pack(">II", width << 16, height << 16), flags=7),
            _media(sizes, first, width, height),
        ),
    )


def _media(sizes: list[int], first: int, width: int, height: int) -> bytes:
    undetermined = 0x55C4  # the language "und"
    header = struct.pack(">4IHH", 0, 0, _TIMESCALE, len(sizes) * _TIMESCALE, undetermined, 0)
    itself = _full_box(b"url ", flags=1)
    return _box(
        b"mdia",
        _full_box(b"mdhd", header),
        _full_box(b"hdlr", struct.pack(">I4s12x", 0, b"vide") + b"video\0"),
        _box(
            b"minf",
            _full_box(b"vmhd", bytes(8), flags=1),
            _box(b"dinf", _full_box(b"dref", struct.pack(">I", 1), itself)),
            _samples(sizes, first, width, height),
        ),
    )


def _samples(sizes: list[int], first: int, width: int, height: int) -> bytes:
    count = len(sizes)
    return _box(
        b"stbl",
        _full_box(b"stsd", struct.pack(">I", 1), _sample_entry(width, height)),
        _full_box(b"stts", struct.pack(">III", 1, count, _TIMESCALE)),
        _full_box(b"stsc", struct.pack(">IIII", 1, 1, count, 1)),
        _full_box(b"stsz", struct.pack(f">II{count}I", 0, count, *sizes)),
        _full_box(b"stco", struct.pack(">II", 1, first)),
    )


def _sample_entry(width: int, height: int) -> bytes:
    resolution = 72 << 16
    entry = struct.pack(">6xH16xHHIIIH32sHh", 1, width, height, resolution, resolution, 0, 1, b"", 24, -1)
    decoder = _descriptor(4, struct.pack(">BBxxxII", _PNG_OBJECT, 0x11, 0, 0))
    stream = _descriptor(3, struct.pack(">HB", 1, 0) + decoder + _descriptor(6, b"\2"))
    return _box(b"mp4v", entry, _full_box(b"esds", stream))


def _descriptor(tag: int, content: bytes) -> bytes:
    return bytes((tag, len(content))) + content


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", len(content) + 8, kind) + content


def _full_box(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", flags), *parts)
