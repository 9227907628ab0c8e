"""A process that sends rows until it is killed: `python -m …sending_child URL KEY ROWS OUTPUT`."""

from __future__ import annotations

import asyncio
import sys

from together_flows import AsyncTogether
from together_flows.inference import FanOut


async def main(url: str, key: str, rows: str, output: str) -> None:
    async with AsyncTogether(api_key=key, base_url=url) as client:
        fan_out = FanOut(operation="chat.create", model="Qwen/Qwen3.5-9B", defaults={"max_tokens": 8}, concurrency=16)
        await fan_out.run(client, rows, output)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
