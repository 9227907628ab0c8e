"""Row 6: whatever the API and the network answer, for every kind of job and through both clients.

The core itself is played here, without an orchestrator: one attempt, or as many as die or ask to be retried. Where a
kind cannot be found again and its answer was lost, the task must say so with `SubmissionUnknown` and must not submit
again; the job that it may have made is a person's to look after then, and counts as wanted.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.matrix.api_desk import SHORT_TIMEOUT, SLOW, SPEED, TIMEOUT, ApiDesk, AsyncApiDesk, Death, SettableClock
from tests.e2e.matrix.api_faults import FAULTS, Bad
from tests.e2e.matrix.cell import Cell, Counted
from tests.e2e.matrix.play import Record
from tests.e2e.processes import eventually
from tests.integration.jobs.desk import CASES, Json
from together_flows import AsyncTogether, Together
from together_flows.client import instant_retries
from together_flows.emulator import EmulatorProcess
from together_flows.errors import SubmissionUnknown, TogetherError
from together_flows.jobs import Done, kind_named
from together_flows.jobs.record import TaskOutcome

pytestmark = pytest.mark.e2e

CELLS = [pytest.param(bad, kind, id=f"{kind}-{bad.case}") for bad in FAULTS for kind in bad.kinds]


@dataclass(frozen=True)
class Office:
    """Desks at one emulator, with clients that live as long as it does."""

    emulator: EmulatorProcess
    loop: asyncio.Runner
    clients: dict[float, tuple[Together, AsyncTogether]]

    def desk(self, driver: str, bad: Bad, folder: Path) -> ApiDesk:
        clock = SettableClock(SLOW if bad.late else SPEED)
        place: Any = {"emulator": self.emulator, "folder": folder, "clock": clock}
        place["hasty"], clients = self._clients(driver, SHORT_TIMEOUT), self._clients(driver, TIMEOUT)
        if driver == "sync":
            return ApiDesk(**place, **clients)
        return AsyncApiDesk(**place, **clients, loop=self.loop)

    def _clients(self, driver: str, timeout: float) -> dict[str, Any]:
        client, async_client = self.clients[timeout]
        return {"client": client} if driver == "sync" else {"client": client, "async_client": async_client}


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with EmulatorProcess(speed=SPEED) as emulator, asyncio.Runner() as loop, instant_retries():
        account: dict[str, Any] = {"api_key": emulator.api_key, "base_url": emulator.url}
        clients = {
            timeout: (Together(**account, timeout=timeout), AsyncTogether(**account, timeout=timeout))
            for timeout in (TIMEOUT, SHORT_TIMEOUT)
        }
        yield Office(emulator, loop, clients)
        for client, async_client in clients.values():
            client.close()
            loop.run(async_client.close())


def play(bad: Bad, kind: str, desk: ApiDesk) -> Counted:
    """One task from its first attempt to its end."""
    spec = CASES[kind].spec(desk)
    bad.arm(desk, kind)
    desk.is_hasty = bad.late  # only now: what the job needs was made with patience
    before = desk.created(kind)
    desk.store.dies = bad.dies
    job_id = is_told(kind, desk, spec) if bad.is_told(kind) else finishes(bad, kind, desk, spec)
    eventually(lambda: desk.created(kind) - before >= bad.wanted(kind), within=20, what="the effect", every=0.02)
    others = [job for job in desk.emulator.jobs(kind) if job["id"] != job_id]
    return Counted(
        wanted=bad.wanted(kind),
        paid=desk.created(kind) - before,
        orphaned=0 if kind == "file" or bad.is_told(kind) else len(others),
        wrongly_cancelled=int(desk.emulator.counts()["cancelled"][kind]),
    )


def finishes(bad: Bad, kind: str, desk: ApiDesk, spec: Json) -> str:
    """A task that succeeds, with the right result; answers with the API's own id of its job."""
    record = attempts(desk, lambda: desk.submit(kind, spec))
    desk.when_submitted(record)
    outcome = desk.wait(record.reference, interval=bad.looks)
    assert isinstance(outcome, Done), outcome
    desk.when_waited()
    manifest = desk.conclude(record.reference, outcome)
    spared = [armed["fault"] for armed in desk.emulator.faults() if not armed["hits"]]
    assert not spared, f"these never struck: {spared}"
    desk.emulator.clear_faults()
    assert unsigned(manifest) == unsigned(of_a_clean_read(desk, kind, record.id))
    assert desk.store.records["task"].outcome is TaskOutcome.SUCCEEDED
    return str(record.id).rpartition("/")[2]


def is_told(kind: str, desk: ApiDesk, spec: Json) -> str:
    """A task that cannot know whether its job was made, retried twice."""
    for _ in range(3):
        with pytest.raises(SubmissionUnknown, match="nothing to find it by"):
            attempts(desk, lambda: desk.submit(kind, spec))
    return ""


def attempts(desk: ApiDesk, attempt: Callable[[], Any]) -> Any:
    """An attempt, and a retry if it dies or asks for one."""
    try:
        return attempt()
    except Death:
        desk.when_dead()
    except TogetherError as error:
        if not error.retryable:
            raise
    return attempt()


def unsigned(manifest: Json) -> Json:
    """Without signatures, which are others each time that the job is read."""
    return {key: value.partition("?")[0] if isinstance(value, str) else value for key, value in manifest.items()}


def of_a_clean_read(desk: ApiDesk, kind: str, job_id: str | None) -> Json:
    known = kind_named(kind)
    return known.manifest(desk.client.send(known.read(str(job_id)).untyped()))


@pytest.mark.parametrize("driver", ["sync", "async"])
@pytest.mark.parametrize(("bad", "kind"), CELLS)
def test_one_job_is_paid_for_and_its_result_comes(
    bad: Bad, kind: str, driver: str, office: Office, record_cell: Record, tmp_path: Path
) -> None:
    office.emulator.reset()
    counted, problem = None, ""
    try:
        counted = play(bad, kind, office.desk(driver, bad, tmp_path))
    except Exception:
        problem = traceback.format_exc()
    case = f"{bad.case}{'; a person is told' if bad.is_told(kind) else ''} ({driver})"
    record_cell(Cell(row="6", where="core", kind=kind, case=case, counted=counted, problem=problem))
