"""One client for all who share an account and an event loop."""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
import weakref

import pytest

from tests.integration.client.scripted import Reply, scripted
from together_flows import AsyncTogether
from together_flows.api import files
from together_flows.client import async_client_for, client_for
from together_flows.client._connection import ssl_context
from together_flows.errors import ConfigurationInvalid

EMPTY_LIST = Reply(body=b'{"data": []}')


def test_within_a_loop_an_account_has_one_client() -> None:
    async def main() -> None:
        client = async_client_for(api_key="key-123456", base_url="http://127.0.0.1:9")

        assert client is async_client_for(api_key="key-123456", base_url="http://127.0.0.1:9/v1/")
        assert client is not async_client_for(api_key="key-654321", base_url="http://127.0.0.1:9")
        assert client is not async_client_for(api_key="key-123456", base_url="http://127.0.0.1:8")

    asyncio.run(main())


def test_each_loop_has_its_own_client_and_closes_it_at_its_end() -> None:
    used: list[AsyncTogether] = []

    async def main(url: str) -> None:
        client = async_client_for(api_key="key-123456", base_url=url)
        used.append(client)
        await asyncio.gather(*(client.send(files.list()) for _ in range(3)))
        assert not client.closed

    with warnings.catch_warnings(action="ignore"):
        gc.collect()  # what other tests have left is no concern of this one
    with scripted(lambda asked: EMPTY_LIST) as server, warnings.catch_warnings():
        warnings.simplefilter("error")  # an unclosed connection would warn
        asyncio.run(main(server.url))
        asyncio.run(main(server.url))
        assert used[0] is not used[1]
        assert all(client.closed for client in used)
        used.clear()
        gc.collect()


def test_an_ended_loop_is_not_kept_in_memory() -> None:
    async def main(url: str) -> weakref.ref[asyncio.AbstractEventLoop]:
        await async_client_for(api_key="key-123456", base_url=url).send(files.list())
        return weakref.ref(asyncio.get_running_loop())

    with scripted(lambda asked: EMPTY_LIST) as server:
        first = asyncio.run(main(server.url))
        asyncio.run(main(server.url))
        gc.collect()

    assert first() is None


async def test_a_shared_client_that_somebody_closed_is_replaced() -> None:
    client = async_client_for(api_key="key-123456", base_url="http://127.0.0.1:9")
    await client.close()

    assert async_client_for(api_key="key-123456", base_url="http://127.0.0.1:9") is not client


async def test_many_triggers_share_one_connection_pool() -> None:
    with scripted(lambda asked: EMPTY_LIST) as server:

        async def trigger() -> None:
            for _ in range(3):
                await async_client_for(api_key="key-123456", base_url=server.url).send(files.list())

        await asyncio.gather(*(trigger() for _ in range(20)))
        await async_client_for(api_key="key-123456", base_url=server.url).close()

    assert len(server.asked) == 60
    assert server.connections <= 20


def test_a_process_shares_a_client_but_not_with_its_children() -> None:
    client = client_for(api_key="key-123456", base_url="http://127.0.0.1:9")
    assert client is client_for(api_key="key-123456", base_url="http://127.0.0.1:9")

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        mine = client_for(api_key="key-123456", base_url="http://127.0.0.1:9")
        os.write(writing, b"own" if mine is not client else b"shared")
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        assert answer.read() == b"own"


def test_shared_clients_need_a_key_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOGETHER_API_KEY", raising=False)
    with pytest.raises(ConfigurationInvalid, match="TOGETHER_API_KEY"):
        client_for()


def test_a_process_builds_its_certificates_once() -> None:
    assert ssl_context() is ssl_context()
