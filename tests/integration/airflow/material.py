"""Datasets and names that the tests share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from together_flows import Together
from together_flows.emulator import Emulator
from together_flows.jobs import MemoryStore, WaitPolicy, kind_named, run, submit_once
from together_flows.jobs.waiting import Done, waiting

__all__ = ["HARDWARE", "JUDGE", "MODEL", "heldout", "prompts", "training", "uploaded", "write_rows"]

MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
HARDWARE = "1x_nvidia_h100_80gb_sxm"
JUDGE = {"model": "Qwen/Qwen2.5-72B-Instruct", "system_template": "Does the answer agree with {{ answer }}?"}


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def training(folder: Path, rows: int = 40) -> Path:
    """Conversations to learn from."""

    def row(number: int) -> dict[str, Any]:
        return {
            "messages": [
                {"role": "user", "content": f"Where is parcel {number}?"},
                {"role": "assistant", "content": f"Parcel {number} waits in depot {number % 7}."},
            ]
        }

    return write_rows(folder / "train.jsonl", map(row, range(rows)))


def heldout(folder: Path, rows: int = 12) -> Path:
    """Questions with the answers that are right."""

    def row(number: int) -> dict[str, Any]:
        return {"question": f"Where is parcel {number}?", "answer": f"Parcel {number} waits in depot {number % 7}."}

    return write_rows(folder / "heldout.jsonl", map(row, range(rows)))


def prompts(rows: int) -> list[str]:
    return [f"Where is parcel {number}?" for number in range(rows)]


def uploaded(emulator: Emulator, path: Path, purpose: str = "fine-tune") -> str:
    """A file that the server has checked."""
    with Together(api_key=emulator.api_key, base_url=emulator.url) as client:
        spec = {"path": str(path), "purpose": purpose}
        record = submit_once(client, "file", spec, store=MemoryStore(), key="file")
        assert record.id is not None
        done = run(waiting(kind_named("file"), record.id, WaitPolicy(interval=0.2, first=0.05)), client=client)
        assert isinstance(done, Done)
        return record.id
