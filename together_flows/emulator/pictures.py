"""Pictures: a few coloured tiles that follow from the prompt, as valid PNG and JPEG files."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Picture", "paint"]

TILES = 8
"""Tiles along each side of a picture."""

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        tiles: its colours, row by row, TILES of them in each.
    """

    width: int
    height: int
    tiles: tuple[Colour, ...]

    def colour(self, x: int, y: int) -> Colour:
        """The colour of a pixel."""
        return self.tiles[y * TILES // self.height * TILES + x * TILES // self.width]

    def png(self) -> bytes:
        """The picture as PNG, with a palette of its tiles."""
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 3, 0, 0, 0)
        palette = b"".join(bytes(colour) for colour in self.tiles)
        pixels = zlib.compress(b"".join(self._palette_rows()), 6)
        chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", pixels), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(name, data) for name, data in chunks)

    def jpeg(self) -> bytes:
        """The picture as baseline JPEG. Each square of eight pixels has one colour, which keeps encoding quick."""
        return b"".join(
            (
                b"\xff\xd8",
                _segment(0xE0, b"JFIF\0\1\1\0" + struct.pack(">HHBB", 1, 1, 0, 0)),
                _segment(0xDB, b"\0" + bytes([8] * 64)),
                _segment(0xC0, struct.pack(">BHHB", 8, self.height, self.width, 3) + _COMPONENTS),
                _segment(0xC4, b"\x00" + _DC_TABLE),
                _segment(0xC4, b"\x10" + _AC_TABLE),
                _segment(0xDA, b"\3\1\0\2\0\3\0\0\x3f\0"),
                _scan(self._blocks()),
                b"\xff\xd9",
            )
        )

    def _palette_rows(self) -> Iterator[bytes]:
        columns = [x * TILES // self.width for x in range(self.width)]
        rows = [b"\0" + bytes(row * TILES + column for column in columns) for row in range(TILES)]
        return (rows[y * TILES // self.height] for y in range(self.height))

    def _blocks(self) -> Iterator[Colour]:
        """Luminance and the two colour differences of each square, around zero."""
        shades = {colour: _ycc(colour) for colour in self.tiles}
        for y in range(0, self.height, 8):
            for x in range(0, self.width, 8):
                yield shades[self.colour(x, y)]


@dataclass(frozen=True)
class _Seed:
    """Turns words into colours, always the same."""

    words: str

    @cached_property
    def digest(self) -> bytes:
        return hashlib.shake_256(self.words.encode()).digest(TILES * TILES * 3)

    def tiles(self) -> tuple[Colour, ...]:
        flat = self.digest
        return tuple((flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat), 3))


def paint(prompt: str, *, width: int, height: int, seed: int) -> Picture:
    """The picture of a prompt; the same prompt and seed make the same picture."""
    return Picture(width, height, _Seed(f"{seed}\0{prompt}").tiles())


def _png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


_COMPONENTS = bytes((1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0))
"""Three components, none of them coarser than the others, all with quantisation table 0."""

_DC_CODES = ["00", "010", "011", "100", "101", "110", "1110", "11110", "111110", "1111110", "11111110", "111111110"]
_DC_TABLE = bytes((0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0)) + bytes(range(12))
_END_OF_BLOCK = "0"
_AC_TABLE = bytes((1, *[0] * 15, 0))
"""One code only: nothing follows in this block."""


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _ycc(colour: Colour) -> Colour:
    red, green, blue = colour
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    return round(luminance) - 128, round(0.564 * (blue - luminance)), round(0.713 * (red - luminance))


def _scan(blocks: Iterable[Colour]) -> bytes:
    """The blocks as entropy-coded bits: each component's difference to the block before."""
    before = (0, 0, 0)
    pieces: list[str] = []
    for block in blocks:
        pieces.extend(_difference(now - then) + _END_OF_BLOCK for now, then in zip(block, before, strict=True))
        before = block
    bits = "".join(pieces)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


def _difference(value: int) -> str:
    size = abs(value).bit_length()
    if not size:
        return _DC_CODES[0]
    return _DC_CODES[size] + format(value if value > 0 else value + (1 << size) - 1, f"0{size}b")
