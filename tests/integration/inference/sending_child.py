"""A process that sends rows until it is killed: `…sending_child URL KEY ROWS OUTPUT [WISHES [SAFE_EVERY]]`."""

from __future__ import annotations

import asyncio
import json
import sys

from together_flows import AsyncTogether
from together_flows.inference import FanOut, sending

CHAT = {"operation": "chat.create", "model": "Qwen/Qwen3.5-9B", "defaults": {"max_tokens": 8}}


async def main(
    url: str, key: str, rows: str, output: str, wishes: str = json.dumps(CHAT), safe_every: str = "5"
) -> None:
    sending._SAFE_EVERY = float(safe_every)
    async with AsyncTogether(api_key=key, base_url=url) as client:
        await FanOut(concurrency=16, **json.loads(wishes)).run(client, rows, output)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
