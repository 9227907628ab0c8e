"""The whole contract through each client: the examples of the reference, and what the emulator has seen of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

import together_flows
from tests.integration.every_operation import CONTRACT, operations_seen
from tests.unit.docs.pages import DOCS, blocks
from together_flows import AsyncTogether, Together
from together_flows.client import instant_retries
from together_flows.emulator import Emulator

PAGES = sorted(DOCS.glob("reference/*.md"))

Await = Callable[[Coroutine[Any, Any, Any]], Any]


class AwaitedSession:
    """An async session, for code that does not await."""

    def __init__(self, session: Any, awaited: Await) -> None:
        self._session = session
        self._await = awaited

    def send(self, event: Any) -> None:
        self._await(self._session.send(event))

    def __iter__(self) -> Iterator[Any]:
        events = self._session.__aiter__()
        while (event := self._await(anext(events, None))) is not None:
            yield event


class AwaitedClient:
    """An async client in its event loop, for examples that are written for the sync one."""

    def __init__(self, awaited: Await) -> None:
        async def made() -> AsyncTogether:
            return AsyncTogether()

        self._await = awaited
        self._client: AsyncTogether = awaited(made())

    @property
    def base_url(self) -> str:
        return self._client.base_url

    def send(self, operation: Any) -> Any:
        return self._await(self._client.send(operation))

    def download(self, *args: Any, **kwargs: Any) -> Any:
        return self._await(self._client.download(*args, **kwargs))

    def upload(self, *args: Any, **kwargs: Any) -> Any:
        return self._await(self._client.upload(*args, **kwargs))

    def stream(self, operation: Any) -> Iterator[Any]:
        async def whole() -> list[Any]:
            return [event async for event in self._client.stream(operation)]

        return iter(self._await(whole()))

    @contextmanager
    def connect(self, operation: Any) -> Iterator[AwaitedSession]:
        connecting: AbstractAsyncContextManager[Any] = self._client.connect(operation)
        session = self._await(connecting.__aenter__())
        try:
            yield AwaitedSession(session, self._await)
        finally:
            self._await(connecting.__aexit__(None, None, None))

    def close(self) -> None:
        self._await(self._client.close())


@pytest.fixture
def awaited() -> Iterator[Await]:
    """Awaits in an event loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(120)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.parametrize("way", ["sync", "async"])
def test_every_operation_of_the_contract_goes_through_the_client(
    way: str, awaited: Await, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clients: list[Any] = []

    def made() -> Any:
        clients.append(Together() if way == "sync" else AwaitedClient(awaited))
        return clients[-1]

    seen: set[str] = set()
    monkeypatch.setattr(together_flows, "Together", made)
    monkeypatch.chdir(tmp_path)
    with Emulator(speed=600) as emulator, instant_retries():
        monkeypatch.setenv("TOGETHER_API_KEY", emulator.api_key)
        monkeypatch.setenv("TOGETHER_BASE_URL", emulator.url)
        for page in PAGES:
            namespace: dict[str, object] = {"__name__": "__main__"}
            for block in blocks(page, "python"):
                exec(block.compiled(), namespace)
            seen |= operations_seen(emulator)
            emulator.reset()  # each page begins with an empty account
        for client in clients:
            client.close()

    assert len(clients) == len(PAGES)
    assert len(CONTRACT) == 98
    assert seen == CONTRACT
