"""Clients that many callers share: one for each account, and for each event loop where there are loops."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import NamedTuple

from pydantic import SecretStr

from together_flows.client._async import AsyncTogether
from together_flows.client._settings import Settings
from together_flows.client._sync import Together

__all__ = ["async_client_for", "client_for"]


class _Kept(NamedTuple):
    client: AsyncTogether
    keeper: AsyncGenerator[AsyncTogether]


_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Kept]] = weakref.WeakKeyDictionary()
_of_process: dict[tuple[int, str], Together] = {}
_lock = threading.Lock()


def async_client_for(*, api_key: str | SecretStr | None = None, base_url: str | None = None) -> AsyncTogether:
    """The client that everything in the running event loop shares for an account. The loop closes it when it ends.

    Args:
        api_key: the account's key; `TOGETHER_API_KEY` by default.
        base_url: address of the API; `TOGETHER_BASE_URL` by default.

    Raises:
        ConfigurationInvalid: there is no key, or the key or the address cannot be one.
    """
    settings = Settings.resolve(api_key, base_url)
    loop = asyncio.get_running_loop()
    with _lock:
        _forget_closed_loops()
        kept = _of_loops.setdefault(loop, {})
        if settings.account not in kept or kept[settings.account].client.closed:
            kept[settings.account] = _keep(AsyncTogether(api_key=settings.api_key, base_url=settings.base_url))
        return kept[settings.account].client


def client_for(*, api_key: str | SecretStr | None = None, base_url: str | None = None) -> Together:
    """The client that everything in this process shares for an account. Nobody closes it.

    Args:
        api_key: the account's key; `TOGETHER_API_KEY` by default.
        base_url: address of the API; `TOGETHER_BASE_URL` by default.

    Raises:
        ConfigurationInvalid: there is no key, or the key or the address cannot be one.
    """
    settings = Settings.resolve(api_key, base_url)
    # By process too: a forked child must not write into connections that its parent uses.
    key = (os.getpid(), settings.account)
    with _lock:
        if key not in _of_process or _of_process[key].closed:
            _of_process[key] = Together(api_key=settings.api_key, base_url=settings.base_url)
        return _of_process[key]


def _keep(client: AsyncTogether) -> _Kept:
    """Have the loop close the client when it ends.

    An event loop has no hook for its end but one: before it closes, it ends the async generators that were begun in it.
    So the client is held by one, which closes it when it is ended.
    """

    async def keeper() -> AsyncGenerator[AsyncTogether]:
        try:
            yield client
        finally:
            await client.close()

    generator = keeper()
    with suppress(StopIteration):
        generator.asend(None).send(None)  # runs to the yield; nothing before it waits
    return _Kept(client, generator)


def _forget_closed_loops() -> None:
    """Open connections refer to their loop, which would keep it from being collected."""
    for loop in [loop for loop in _of_loops if loop.is_closed()]:
        del _of_loops[loop]
