"""Takes hostile answers, one after another, and tells for each how it failed and how much memory that took.

python -m tests.integration.client.hostile_child sync|async ADDRESS
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import sys
from pathlib import Path
from typing import Any

from tests.integration.client.hostile_server import ANSWERS
from together_flows import AsyncTogether, Together
from together_flows.api import audio, chat, files
from together_flows.client import Retries, instant_retries

_ASK = {"model": "m", "messages": [{"role": "user", "content": "Hello?"}]}
_STREAMED = ("event", "field")
_SPOKEN = ("frame",)


def take(way: str, url: str, name: str) -> None:
    arguments: dict[str, Any] = {"api_key": name.replace(" ", "-"), "base_url": url, "retries": Retries(attempts=1)}
    if way == "async":
        asyncio.run(_take_async(arguments, name))
        return
    with Together(**arguments) as client:
        if any(word in name for word in _STREAMED):
            list(client.stream(chat.create(**_ASK)))
        elif any(word in name for word in _SPOKEN):
            with client.connect(audio.connect_speech(voice="tara")) as session:
                list(session)
        else:
            client.send(files.list())


async def _take_async(arguments: dict[str, Any], name: str) -> None:
    async with AsyncTogether(**arguments) as client:
        if any(word in name for word in _STREAMED):
            [event async for event in client.stream(chat.create(**_ASK))]
        elif any(word in name for word in _SPOKEN):
            async with client.connect(audio.connect_speech(voice="tara")) as session:
                [event async for event in session]
        else:
            await client.send(files.list())


def measured(way: str, url: str, name: str) -> dict[str, Any]:
    """How an answer ended, with the most memory that it took, in MiB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _memory("VmRSS")
    try:
        take(way, url, name)
    except Exception as error:
        ended, words = type(error).__name__, str(error)
    else:
        ended, words = "", ""
    return {"name": name, "error": ended, "words": words[:2000], "mib": (_memory("VmHWM") - before) // 1024}


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main(way: str, url: str) -> None:
    with instant_retries():
        measured(way, url, "redirects without end")  # loads what is loaded with the first request
        for name in ANSWERS:
            print(json.dumps(measured(way, url, name)), flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(*sys.argv[1:])
