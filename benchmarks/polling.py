"""What waiting costs: one watcher for all waits, beside a request per job and interval.

Both use the same client, the same emulator and the same interval in one run; shown are the requests a minute, the CPU
seconds of this process, how long the event loop was blocked, and the memory.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx2

from together_flows import AsyncTogether
from together_flows.api import batches
from together_flows.emulator import EmulatorProcess
from together_flows.jobs import JobReference, JobWatcher, WaitPolicy

_LINE = b'{"custom_id": "a", "body": {"model": "%s", "messages": [{"role": "user", "content": "hello"}]}}\n'
_MODEL = b"Qwen/Qwen3-8B"


@dataclass
class Lag:
    """How late the event loop was, sampled every 10 ms."""

    late: list[float] = field(default_factory=list)

    async def watch(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            self.late.append(time.perf_counter() - began - 0.01)

    def worst(self, share: float) -> float:
        ordered = sorted(self.late)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000


async def measured(
    name: str, emulator: EmulatorProcess, jobs: int, seconds: float, wait: Callable[[], Awaitable[object]], warm: float
) -> None:
    """Run a way of waiting for a while, and print a row."""
    waiting = asyncio.ensure_future(wait())
    await asyncio.sleep(warm)
    lag = Lag()
    watching = asyncio.ensure_future(lag.watch())
    requests, used = sum(emulator.counts()["requests"].values()), time.process_time()
    await asyncio.sleep(seconds)
    used = time.process_time() - used
    requests = sum(emulator.counts()["requests"].values()) - requests
    for task in (waiting, watching):
        task.cancel()
    await asyncio.gather(waiting, watching, return_exceptions=True)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name:22} {jobs:5} {requests * 60 / seconds:13.0f} {used / seconds * 100:6.1f} "
        f"{lag.worst(0.99):8.1f} {lag.worst(1.0):8.1f} {memory:8.0f}"
    )


async def compare(jobs: int, interval: float, seconds: float) -> None:
    """Both ways of waiting for so many batches."""
    with EmulatorProcess(speed=0.0001) as emulator:
        async with AsyncTogether(api_key=emulator.api_key, base_url=emulator.url) as client:
            ids = await _make_batches(emulator, client, jobs)
            watcher = JobWatcher.of(client)
            policy = WaitPolicy(interval=interval)

            async def together() -> None:
                await asyncio.gather(*(watcher.wait(JobReference("batch", job_id), policy) for job_id in ids))

            async def each() -> None:
                async def one(job_id: str) -> None:
                    while True:
                        await client.send(batches.retrieve(job_id))
                        await asyncio.sleep(interval)

                await asyncio.gather(*(one(job_id) for job_id in ids))

            await measured("one watcher", emulator, jobs, seconds, together, warm=4 * interval)
            await measured("a request per job", emulator, jobs, seconds, each, warm=interval)


async def _make_batches(emulator: EmulatorProcess, client: AsyncTogether, jobs: int) -> list[str]:
    body = {"purpose": "batch-api", "file_name": "one.jsonl"}
    headers = {"Authorization": f"Bearer {emulator.api_key}"}
    async with httpx2.AsyncClient(base_url=emulator.url, headers=headers, timeout=60) as wire:
        answer = await wire.post("/files/upload", data=body, files={"file": ("one.jsonl", _LINE % _MODEL)})
    file_id = answer.raise_for_status().json()["id"]
    made = []
    for _ in range(jobs):
        made.append((await client.send(batches.create(input_file_id=file_id, endpoint="/v1/chat/completions"))).job.id)
    return made


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="*", default=[200, 2000])
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two looks at a job")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds to measure each")
    options = parser.parse_args()
    print(f"{'way':22} {'jobs':>5} {'requests/min':>13} {'CPU %':>6} {'lag p99':>8} {'lag max':>8} {'RSS MB':>8}")
    for jobs in options.jobs:
        asyncio.run(compare(jobs, options.interval, options.seconds))


if __name__ == "__main__":
    main()
