"""An emulator, and a way to send rows to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from together_flows import AsyncTogether
from together_flows.emulator import Emulator
from together_flows.inference import FanOut

CHAT = "Qwen/Qwen3.5-9B"


class Send(Protocol):
    """Sends rows, and answers with the manifest."""

    async def __call__(
        self, rows: Any, output: Any = None, *, key: str = "", fresh: bool = False, **fan_out: Any
    ) -> dict[str, Any]: ...


SPEED = 3600.0


@pytest.fixture(scope="session")
def running_emulator() -> Iterator[Emulator]:
    with Emulator(speed=SPEED) as emulator:
        yield emulator


@pytest.fixture
def emulator(running_emulator: Emulator) -> Iterator[Emulator]:
    running_emulator.reset()
    yield running_emulator
    running_emulator.clear_faults()
    running_emulator.settings(rate_limit=None, speed=SPEED)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


@pytest.fixture
def send(emulator: Emulator, output: Path) -> Send:
    async def sent(rows: Any, to: Any = None, *, key: str = "", fresh: bool = False, **fan_out: Any) -> dict[str, Any]:
        wishes = {"operation": "chat.create", "model": CHAT, "defaults": {"max_tokens": 8}, "concurrency": 16}
        async with AsyncTogether(api_key=emulator.api_key, base_url=emulator.url, timeout=20) as client:
            return await FanOut(**(wishes | fan_out)).run(client, rows, to or str(output), key=key, fresh=fresh)

    return sent


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def asked(emulator: Emulator, route: str = "POST /chat/completions") -> int:
    """Requests that have reached a route."""
    counts: dict[str, int] = emulator.counts()["requests"]
    return sum(number for name, number in counts.items() if name.replace("/v1", "").replace("/v2", "") == route)
