"""Answers that would fill the memory of a worker, each taken by a real process whose memory is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.integration.client.hostile_server import ANSWERS, hostile_server

#: Errors of this package that say plainly what happened.
CLEAR = {"AnswerInvalid", "ConnectionFailed", "BadRequest", "ServerFailed"}
#: MiB that an answer may take; 64 of it are those that the longest honest answer takes on the wire.
MOST = 200


@pytest.fixture(scope="module")
def taken() -> dict[tuple[str, str], dict[str, Any]]:
    """How each answer ended, through both clients. One process for each client, because starting one takes seconds."""
    with hostile_server() as url:
        children = {way: child(way, url) for way in ("sync", "async")}
        try:
            outputs = {way: process.communicate(timeout=300)[0] for way, process in children.items()}
        finally:
            for process in children.values():
                process.kill()
                process.wait()
    ends = {way: [json.loads(line) for line in output.splitlines()] for way, output in outputs.items()}
    return {(way, end["name"]): end for way in ends for end in ends[way]}


def child(way: str, url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.integration.client.hostile_child", way, url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("name", ANSWERS)
def test_it_fails_clearly_in_bounded_memory(name: str, way: str, taken: dict[tuple[str, str], dict[str, Any]]) -> None:
    end = taken[way, name]
    assert end["error"] in CLEAR, end
    assert len(end["words"]) < 1_000, "a message that nobody can read"
    assert end["mib"] < MOST
