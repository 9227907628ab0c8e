from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from together_flows import AsyncTogether, Together
from together_flows.client import instant_retries
from together_flows.emulator import Emulator

from .desk import Desk


@pytest.fixture(scope="session")
def _running_emulator() -> Iterator[Emulator]:
    with Emulator(speed=7200) as emulator:
        yield emulator


@pytest.fixture
def emulator(_running_emulator: Emulator) -> Iterator[Emulator]:
    """An emulator on which two hours take a second, as good as new."""
    _running_emulator.reset()
    yield _running_emulator
    _running_emulator.clear_faults()


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    with instant_retries():
        yield


@pytest.fixture
def desk(emulator: Emulator, tmp_path: Path) -> Iterator[Desk]:
    with Together(api_key=emulator.api_key, base_url=emulator.url, timeout=20) as client:
        yield Desk(emulator, client, tmp_path)


@pytest_asyncio.fixture
async def async_client(emulator: Emulator) -> AsyncIterator[AsyncTogether]:
    async with AsyncTogether(api_key=emulator.api_key, base_url=emulator.url, timeout=20) as client:
        yield client
