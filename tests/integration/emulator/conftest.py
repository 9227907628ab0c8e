from __future__ import annotations

from collections.abc import Iterator

import pytest

from together_flows.emulator import Emulator

from .account import Account


@pytest.fixture(scope="session")
def _fast_emulator() -> Iterator[Emulator]:
    with Emulator(speed=3600) as emulator:
        yield emulator


@pytest.fixture
def emulator(_fast_emulator: Emulator) -> Iterator[Emulator]:
    """An emulator on which an hour takes a second, as good as new."""
    _fast_emulator.reset()
    yield _fast_emulator
    _fast_emulator.clear_faults()


@pytest.fixture
def account(emulator: Emulator) -> Iterator[Account]:
    account = Account(emulator)
    yield account
    account.close()
