"""Reading the pictures that the emulator paints."""

from __future__ import annotations

import struct
import zlib


def png_pixels(content: bytes) -> list[bytes]:
    """The rows of a palette PNG, each in RGB, after checking every chunk's checksum."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    chunks: dict[bytes, bytes] = {}
    place = 8
    while place < len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        data = content[place + 8 : place + 8 + length]
        assert zlib.crc32(name + data) == struct.unpack_from(">I", content, place + 8 + length)[0]
        chunks[name] = data
        place += 12 + length
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    raw = zlib.decompress(chunks[b"IDAT"])
    assert len(raw) == height * (width + 1)
    palette = [chunks[b"PLTE"][i : i + 3] for i in range(0, len(chunks[b"PLTE"]), 3)]
    rows = [raw[y * (width + 1) + 1 : (y + 1) * (width + 1)] for y in range(height)]
    return [b"".join(palette[index] for index in row) for row in rows]
