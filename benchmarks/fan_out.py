"""What inference over rows costs: the fan-out beside a plain `asyncio.gather` over the same client.

Both send the same requests to the same emulator in one run, each in a process of its own. The fan-out also reads the
rows from a file, journals each answer, keeps to the rate limit, and writes the output in order; the plain way keeps
everything in memory and loses it all when it dies.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from together_flows import AsyncTogether
from together_flows.api import chat
from together_flows.emulator import EmulatorProcess
from together_flows.inference import FanOut

_MODEL = "Qwen/Qwen3.5-9B"
_MAX_TOKENS = 32


async def gather(client: AsyncTogether, source: Path, target: Path, concurrency: int) -> None:
    """The plain way: a task for each row. The pool of connections bounds what is in flight."""

    async def one(text: str) -> Any:
        message = {"role": "user", "content": text}
        return await client.send(chat.create(messages=[message], model=_MODEL, max_tokens=_MAX_TOKENS))

    with source.open() as lines:
        answers = await asyncio.gather(*(one(json.loads(line)["prompt"]) for line in lines))
    with target.open("w") as stream:
        for answer in answers:
            stream.write(answer.model_dump_json() + "\n")


async def fan_out(client: AsyncTogether, source: Path, target: Path, concurrency: int) -> None:
    """Ours."""
    defaults = {"max_tokens": _MAX_TOKENS}
    wanted = FanOut(operation="chat.create", model=_MODEL, defaults=defaults, concurrency=concurrency)
    made = await wanted.run(client, str(source), str(target))
    assert made["failed"] == 0


WAYS: dict[str, Callable[[AsyncTogether, Path, Path, int], Awaitable[None]]] = {"gather": gather, "fan_out": fan_out}


async def measure(way: str, source: Path, rows: int, concurrency: int) -> None:
    """Run one way, and print its row."""
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncTogether(max_connections=concurrency, timeout=600) as client:
            began, used = time.perf_counter(), time.process_time()
            await WAYS[way](client, source, Path(folder) / "answers.jsonl", concurrency)
            seconds, used = time.perf_counter() - began, time.process_time() - used
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{way:10} {rows:7} {rows / seconds:10.0f} {used / rows * 1000:12.2f} {memory:8.0f}", flush=True)


def main() -> None:
    """Compare both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    wishes = parser.parse_args()
    if wishes.only:
        asyncio.run(measure(wishes.only, wishes.source, wishes.rows, wishes.concurrency))
        return
    print(f"{'way':10} {'rows':>7} {'requests/s':>10} {'CPU s/1,000':>12} {'MiB':>8}", flush=True)
    with EmulatorProcess() as emulator, tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        with source.open("w") as stream:
            for number in range(wishes.rows):
                stream.write(json.dumps({"prompt": f"Where is parcel {number}?"}) + "\n")
        account = {"TOGETHER_API_KEY": emulator.api_key, "TOGETHER_BASE_URL": emulator.url}
        size = [f"--rows={wishes.rows}", f"--concurrency={wishes.concurrency}", f"--source={source}"]
        for _ in range(wishes.rounds):
            for way in WAYS:
                command = [sys.executable, "-m", "benchmarks.fan_out", f"--only={way}", *size]
                subprocess.run(command, check=True, env={**os.environ, **account})


if __name__ == "__main__":
    main()
