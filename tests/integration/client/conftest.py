"""An emulator for all tests of the client, and clients that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from together_flows import AsyncTogether, Together
from together_flows.client import instant_retries
from together_flows.emulator import Emulator


@pytest.fixture(scope="module")
def running_emulator() -> Iterator[Emulator]:
    with Emulator(speed=3600) as emulator:
        yield emulator


@pytest.fixture
def emulator(running_emulator: Emulator) -> Emulator:
    running_emulator.reset()
    return running_emulator


@pytest.fixture(autouse=True)
def no_waits() -> Iterator[None]:
    with instant_retries():
        yield


@pytest.fixture
def client(emulator: Emulator) -> Iterator[Together]:
    with Together(api_key=emulator.api_key, base_url=emulator.url, timeout=20) as client:
        yield client


@pytest_asyncio.fixture
async def async_client(emulator: Emulator) -> AsyncIterator[AsyncTogether]:
    async with AsyncTogether(api_key=emulator.api_key, base_url=emulator.url, timeout=20) as client:
        yield client
