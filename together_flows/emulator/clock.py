"""The emulator's one clock: emulator seconds run `speed` times as fast as real ones.

Every stored moment is in emulator seconds since the emulator first started. What a client sees is real wall time, so
the clock remembers at which real moment each speed began and converts either way, also for the past and across
restarts. While the process is down the clock runs on, as the real service would.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

__all__ = ["Clock", "Segment"]


class Segment(msgspec.Struct, frozen=True):
    """A stretch of time at one speed.

    Attributes:
        emulated: emulator seconds at its start.
        real: Unix time at its start.
        speed: emulator seconds per real second.
    """

    emulated: float
    real: float
    speed: float

    def emulated_at(self, real: float) -> float:
        return self.emulated + (real - self.real) * self.speed

    def real_at(self, emulated: float) -> float:
        return self.real + (emulated - self.emulated) / self.speed


class Clock:
    """Tells emulator time and translates it to wall time.

    Args:
        segments: the stretches known from an earlier run, oldest first.
        real_time: the source of real seconds; tests may bring their own.
    """

    def __init__(self, segments: list[Segment] | None = None, *, real_time: Callable[[], float] = time.time) -> None:
        self._real_time = real_time
        self.segments = list(segments or [Segment(0.0, real_time(), 1.0)])

    @property
    def speed(self) -> float:
        return self.segments[-1].speed

    def now(self) -> float:
        """Emulator seconds since the emulator first started."""
        return self.segments[-1].emulated_at(self._real_time())

    def set_speed(self, speed: float) -> None:
        """Runs at another speed from this moment on; what has passed stays where it was."""
        if speed <= 0:
            raise ValueError(f"speed must be above 0, got {speed}")
        if speed != self.speed:
            real = self._real_time()
            self.segments.append(Segment(self.segments[-1].emulated_at(real), real, speed))

    def wall(self, emulated: float) -> float:
        """Unix time of a moment given in emulator seconds."""
        for segment in reversed(self.segments):
            if emulated >= segment.emulated:
                return segment.real_at(emulated)
        return self.segments[0].real_at(emulated)

    def iso(self, emulated: float) -> str:
        """The moment as the API writes it: UTC, milliseconds, `Z`."""
        moment = datetime.fromtimestamp(self.wall(emulated), UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"

    def epoch(self, emulated: float) -> int:
        """The moment in whole Unix seconds."""
        return int(self.wall(emulated))
