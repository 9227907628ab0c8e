"""The emulator as a process of its own, with its control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.processes import Process, clean_environment, eventually, free_port
from together_flows.emulator import EMULATOR_API_KEY


class EmulatorProcess:
    """A running emulator.

    Args:
        folder: for its log and its state.
        speed: emulated seconds per real second.
    """

    def __init__(self, folder: Path, *, speed: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.root = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.root}/v1"
        self.api_key = EMULATOR_API_KEY
        self.control = httpx2.Client(base_url=f"{self.root}/_emulator", timeout=30)
        command = f"python -m together_flows.emulator --port {self.port} --speed {speed} --data {folder / 'state'}"
        self.process = Process("emulator", command.split(), log=folder / "emulator.log", env=clean_environment())

    def __enter__(self) -> EmulatorProcess:
        self.process.start()
        eventually(self.counts, within=60, what="the emulator's start")
        return self

    def __exit__(self, *exc: object) -> None:
        self.control.close()
        self.process.stop()

    def counts(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.control.get("/counts").raise_for_status().json()
        return answer

    def jobs(self, kind: str) -> list[dict[str, Any]]:
        return [job for job in self.control.get("/jobs").raise_for_status().json() if job["kind"] == kind]

    def created(self, kind: str) -> int:
        return int(self.counts()["created"].get(kind, 0))

    def running(self) -> dict[str, int]:
        """Jobs that are not final, by kind; files, which cost nothing, are left out."""
        return {kind: n for kind, n in self.counts()["running"].items() if n and kind != "file"}

    def fault(self, **fault: Any) -> None:
        self.control.post("/faults", json=fault).raise_for_status()

    def settings(self, **settings: Any) -> None:
        self.control.post("/settings", json=settings).raise_for_status()
