"""A flow run of a scenario: started, watched, killed, cancelled and run again."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.matrix.play import Stage
from tests.e2e.prefect_server import FINAL, PrefectServer
from tests.e2e.processes import eventually, wait_until_at_rest

#: Name under which the flows are served for all scenarios that do not kill what serves them.
EVERYBODY = "everybody"
#: Emulated seconds per second on an account where no job of the kind ends by itself while a scenario lasts. What is
#: cancelled there is over within some ten seconds.
SLOW = {"fine_tune": 1.0, "batch": 0.02, "endpoint": 1.0}
#: Kinds that end by themselves, and what a wait for them reads.
WORK = {"fine_tune": "/fine-tunes/{id}", "batch": "/batches/{id}"}
KINDS = (*WORK, "endpoint")


@dataclass(frozen=True)
class Run:
    """One flow run.

    Attributes:
        stage: where it is played.
        id: its id.
        folder: where it leaves what the scenario wants to see.
    """

    stage: Stage[PrefectServer]
    id: str
    folder: Path

    @classmethod
    def start(
        cls, stage: Stage[PrefectServer], flow: str, kind: str, *, served_by: str = EVERYBODY, **order: Any
    ) -> Run:
        """Start a run of one of the matrix' flows on the stage's account."""
        folder = stage.folder / str(len(list(stage.folder.iterdir())))
        folder.mkdir()
        placed = {"account": stage.account.block, "kind": kind, "folder": str(folder), **stage.account.files}
        deployment = f"{flow.replace('_', '-')}/{served_by}"  # Prefect names a flow after its function, with dashes
        return cls(stage, stage.on.run(deployment, {"order": {**placed, **order}}), folder)

    @property
    def server(self) -> PrefectServer:
        return self.stage.on

    def pid(self, attempt: int = 1) -> int:
        """The process of an attempt, once it has begun."""
        file = self.folder / f"attempt-{attempt}.pid"
        eventually(file.exists, within=600, what=f"attempt {attempt} of {self.id}", every=0.05)
        return int(file.read_text())

    def kill(self) -> None:
        """Send SIGKILL to the process of the first attempt."""
        os.kill(self.pid(), signal.SIGKILL)

    def ask_to_end(self) -> None:
        """Send SIGTERM to the process of the first attempt, where it is heard."""
        pid = self.pid()
        wait_until_at_rest(pid)
        os.kill(pid, signal.SIGTERM)

    def expect(self, *states: str, within: float = 600) -> None:
        """Wait for the end of the run, and fail with what it logged if it did not end so."""
        ended = self.server.wait_for_run(self.id, within=within)
        assert ended in states, f"{self.id} {ended}: {self.message()}\n{self.log()}"

    def run_again(self) -> None:
        """What a person does to a run that is over: the same flow run, scheduled anew."""
        self.set_state("SCHEDULED", "AwaitingRetry")

    def run_again_once_more(self) -> None:
        """Run it again until that is so: a runner that reports a crash after the run itself did undoes it."""
        self.run_again()

        def begins() -> bool:
            if self.flow_run["state_type"] == "CRASHED":
                self.run_again()
            return (self.folder / "attempt-2.pid").exists()

        eventually(begins, within=300, what="the second attempt", every=5)

    def wait_until_it_stops(self) -> None:
        """Wait until the run says that it is over, or its first process cannot say so any more."""
        pid = self.pid()

        def has_stopped() -> bool:
            try:
                gone = psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:
                gone = True
            return gone or self.flow_run["state_type"] in FINAL

        eventually(has_stopped, within=300, what=f"the end of {self.id}")

    def set_state(self, state: str, name: str | None = None) -> None:
        body = {"state": {"type": state, "name": name}, "force": True}
        self.server.ask("POST", f"/flow_runs/{self.id}/set_state", body)

    def cancel(self) -> None:
        self.server.cancel(self.id)

    def result(self) -> Any:
        """What the flow has left."""
        return json.loads((self.folder / "result.json").read_text())

    def job_ids(self) -> set[str]:
        """The ids of the jobs that the result is of."""
        result = self.result()
        results = result if isinstance(result, list) else [result]
        references = [reference for one in results for reference in one.get("jobs", [one.get("reference")])]
        return {reference.partition(":")[2] for reference in references}

    def wait_until_it_looks(self, kind: str) -> None:
        """Wait until the wait for the job has begun."""
        emulator, request = self.stage.account.emulator, f"GET {WORK[kind]}"
        eventually(lambda: request in emulator.counts()["requests"], within=600, what=request, every=0.1)

    def wait_until_in_use(self) -> None:
        eventually((self.folder / "in_use").exists, within=600, what="the use of the endpoint", every=0.1)

    def release(self) -> None:
        """Have done with the endpoint that the run uses."""
        (self.folder / "release").touch()

    def sweep(self, **wishes: float) -> None:
        """Have the shipped sweep end what nobody can want."""
        asked = {"dry_run": False, "credentials": self.stage.account.block, **wishes}
        sweeping = Run(self.stage, self.server.run(f"together-sweep/{EVERYBODY}", asked), self.folder)
        sweeping.expect("COMPLETED")

    @property
    def flow_run(self) -> dict[str, Any]:
        return self.server.flow_run(self.id)

    def message(self) -> str:
        """What the run says of its state."""
        return str(self.flow_run["state"].get("message"))

    def log(self) -> str:
        """What the run has logged on the server."""
        body = {"logs": {"flow_run_id": {"any_": [self.id]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        rows = self.server.ask("POST", "/logs/filter", body)
        return "\n".join(row["message"] for row in rows)
