"""Accounts of their own for scenarios that are played side by side: an emulator process each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue
from typing import Any

from dags_examples.demo.questions import Datasets
from tests.e2e.matrix.cell import Counted
from tests.e2e.processes import eventually
from together_flows import Together
from together_flows.emulator import EmulatorProcess

#: Emulated seconds per real second. A scenario that wants its jobs to outlast it slows its account down.
SPEED = 120.0
_SETTLED_WITHIN = 45.0


class Account:
    """One emulated Together account.

    Attributes:
        emulator: the emulator's process.
        connection: id of the account's Airflow connection.
        block: name of its Prefect credentials block.
        files: ids of the files that every scenario may use: `training_file` and `heldout_file`.
    """

    def __init__(self, number: int, emulator: EmulatorProcess, datasets: Datasets) -> None:
        self.emulator = emulator
        self.connection = f"together_{number}"
        self.block = f"together-{number}"
        self._datasets = datasets
        self.files: dict[str, str] = {}

    def renew(self) -> None:
        """Forget everything, run at the usual speed, and upload the files anew."""
        self.emulator.reset()
        self.emulator.settings(speed=SPEED)
        with Together(api_key=self.emulator.api_key, base_url=self.emulator.url) as client:
            self.files = {
                "training_file": client.upload(self._datasets.training, purpose="fine-tune").id,
                "heldout_file": client.upload(self._datasets.held_out, purpose="eval").id,
            }
        self._files_before = self.emulator.counts()["created"]["file"]

    @property
    def airflow_connection(self) -> dict[str, Any]:
        return {"conn_type": "together", "password": self.emulator.api_key, "host": self.emulator.url}

    @property
    def credentials_block(self) -> dict[str, str]:
        return {"api_key": self.emulator.api_key, "base_url": self.emulator.url}

    def paid(self, kind: str) -> int:
        """Creations of this kind that took effect. Files count from those that the scenario itself uploads."""
        created = int(self.emulator.counts()["created"][kind])
        return created - self._files_before if kind == "file" else created

    def wait_for_paid(self, kind: str, number: int = 1, *, within: float = 600) -> None:
        eventually(lambda: self.paid(kind) >= number, within=within, what=f"creation {number} of a {kind}", every=0.1)

    def job_ids(self, kind: str) -> list[str]:
        return [job["id"] for job in self.emulator.jobs(kind)]

    def count(self, kind: str, *, wanted: int = 1, ended: int = 0, running: int = 0) -> Counted:
        """Count at the end of a scenario, once what was to be ended has ended.

        Args:
            kind: the kind of job that the scenario is about.
            wanted: paid creations that it called for.
            ended: how many jobs somebody's action meant to end. One more was ended wrongly, one less is an orphan.
            running: how many jobs are to run on.
        """

        def settled() -> bool:
            counts = self.emulator.counts()
            return counts["running"][kind] <= running and counts["cancelled"][kind] >= ended

        with suppress(AssertionError):  # the counts say it
            eventually(settled, within=_SETTLED_WITHIN, what=f"the end of what runs of {kind}")
        counts = self.emulator.counts()
        cancelled = counts["cancelled"][kind]
        return Counted(
            wanted=wanted,
            paid=self.paid(kind),
            orphaned=max(counts["running"][kind] - running, ended - cancelled, 0) if kind != "file" else 0,
            wrongly_cancelled=max(cancelled - ended, 0),
        )


class Accounts:
    """A pool of accounts. A scenario borrows one and has it for itself.

    Args:
        folder: for the emulators' data.
        datasets: what is uploaded to each.
        size: how many there are, and so how many scenarios are played at once.
    """

    def __init__(self, folder: Path, datasets: Datasets, size: int) -> None:
        self.all = [
            Account(number, EmulatorProcess(speed=SPEED, data=folder / str(number)), datasets) for number in range(size)
        ]
        self._free: Queue[Account] = Queue()

    def start(self) -> None:
        for account in self.all:
            account.emulator.start()
            self._free.put(account)

    def stop(self) -> None:
        for account in self.all:
            account.emulator.stop()

    @contextmanager
    def borrowed(self) -> Iterator[Account]:
        """A fresh account, until the block ends."""
        account = self._free.get()
        try:
            account.renew()
            yield account
        finally:
            self._free.put(account)
