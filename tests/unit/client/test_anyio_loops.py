"""The async client inside a loop that anyio runs, as Prefect, Starlette and blocking portals do."""

from __future__ import annotations

import anyio
import httpx2

from together_flows.api import models
from together_flows.client import AsyncTogether


def test_the_first_request_can_be_sent_from_a_loop_of_anyio() -> None:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=[]))

    async def send() -> object:
        async with AsyncTogether(api_key="k", base_url="http://127.0.0.1:9/v1", transport=transport) as client:
            return await client.send(models.list())

    assert anyio.run(send) == []
