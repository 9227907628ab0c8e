"""The two drivers of flows: what they do with each step, with its answer and with its error."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from together_flows.api import Operation, files
from together_flows.errors import NotFound
from together_flows.jobs.record import JobRecord, MemoryStore
from together_flows.jobs.steps import (
    Elapsed,
    Load,
    Log,
    Now,
    Save,
    Send,
    Sleep,
    Step,
    Steps,
    SystemClock,
    Upload,
    arun,
    run,
)

RECORD = JobRecord(kind="file", fingerprint="f", marker="tf0", intent_at=1.0)


class Clock:
    """Time that only passes in sleeps."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time

    def elapsed(self) -> float:
        return self.time - 100.0

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    async def asleep(self, seconds: float) -> None:
        self.time += seconds


class Client:
    """Answers with the names of what it was given, or fails."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def send(self, operation: Operation[Any]) -> str:
        if self.error:
            raise self.error
        return operation.name

    def upload(self, path: Path, *, purpose: str, file_name: str) -> str:
        return f"{path}|{purpose}|{file_name}"


class AsyncClient(Client):
    async def send(self, operation: Operation[Any]) -> str:  # type: ignore[override] # the async twin
        return super().send(operation)

    async def upload(self, path: Path, *, purpose: str, file_name: str) -> str:  # type: ignore[override]
        return super().upload(path, purpose=purpose, file_name=file_name)


class Threads(MemoryStore):
    """A store that remembers which threads used it."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[int] = set()

    def load(self, key: str) -> JobRecord | None:
        self.used.add(threading.get_ident())
        return super().load(key)

    def save(self, key: str, record: JobRecord) -> None:
        self.used.add(threading.get_ident())
        super().save(key, record)


def _blocking(steps: Steps[Any], *, error: BaseException | None = None, **given: Any) -> Any:
    return run(steps, client=Client(error), **given)  # type: ignore[arg-type] # it has what drivers use


def _on_a_loop(steps: Steps[Any], *, error: BaseException | None = None, **given: Any) -> Any:
    return asyncio.run(arun(steps, client=AsyncClient(error), **given))  # type: ignore[arg-type]


Driver = Callable[..., Any]
both = pytest.mark.parametrize("drive", [_blocking, _on_a_loop], ids=["run", "arun"])


def flow(*steps: Step) -> Steps[list[Any]]:
    answers = []
    for step in steps:
        answers.append((yield step))
    return answers


@both
def test_each_step_is_answered_with_what_came_of_it(drive: Driver) -> None:
    store, log, clock = MemoryStore(), [], Clock()
    answers = drive(
        flow(
            Now(),
            Send(files.list()),
            Upload(Path("a.jsonl"), "eval", "b.jsonl"),
            Sleep(2.5),
            Now(),
            Elapsed(),
            Load(),
            Save(RECORD),
            Load(),
            Log("told", "warning"),
        ),
        store=store,
        key="k",
        log=lambda message, level: log.append((message, level)),
        clock=clock,
    )
    assert answers == [100.0, "files.list", "a.jsonl|eval|b.jsonl", None, 102.5, 2.5, None, None, RECORD, None]
    assert store.records == {"k": RECORD}
    assert log == [("told", "warning")]


@both
def test_a_record_stored_in_place_of_another_leaves_a_third_alone(drive: Driver) -> None:
    store = MemoryStore()
    newer, other = replace(RECORD, generation=1), replace(RECORD, marker="tf1")
    drive(flow(Save(RECORD, instead_of=other)), store=store, key="k")
    assert store.records == {"k": RECORD}, "there was none"
    drive(flow(Save(newer, instead_of=RECORD)), store=store, key="k")
    assert store.records == {"k": newer}
    drive(flow(Save(RECORD, instead_of=other)), store=store, key="k")
    assert store.records == {"k": newer}


@both
def test_a_flow_without_steps_ends_with_its_value(drive: Driver) -> None:
    assert drive(flow()) == []


@both
def test_an_error_is_thrown_into_the_flow_where_it_stands(drive: Driver) -> None:
    def forgiving() -> Generator[Step, Any, str]:
        try:
            yield Send(files.list())
        except NotFound as error:
            return f"caught {error.message}; {(yield Now())}"
        return "not caught"

    assert drive(forgiving(), error=NotFound("gone", status_code=404), clock=Clock()) == "caught gone; 100.0"


@both
def test_an_error_that_the_flow_does_not_catch_reaches_the_caller(drive: Driver) -> None:
    with pytest.raises(NotFound):
        drive(flow(Send(files.list())), error=NotFound("gone", status_code=404))


@both
def test_a_flow_that_is_left_cleans_up(drive: Driver) -> None:
    cleaned: list[bool] = []

    def tidy() -> Generator[Step, Any, None]:
        try:
            yield Send(files.list())
        finally:
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt):
        drive(tidy(), error=KeyboardInterrupt())
    assert cleaned == [True]


@both
@pytest.mark.parametrize("step", [Load(), Save(RECORD)])
def test_a_flow_that_keeps_records_needs_a_store(drive: Driver, step: Step) -> None:
    with pytest.raises(TypeError, match="needs a job store"):
        drive(flow(step))


@both
def test_a_log_is_not_needed(drive: Driver) -> None:
    assert drive(flow(Log("told"))) == [None]


def test_the_store_never_blocks_the_event_loop() -> None:
    store = Threads()
    _on_a_loop(flow(Load(), Save(RECORD)), store=store, key="k")
    assert threading.get_ident() not in store.used
    assert store.records == {"k": RECORD}


async def test_a_cancelled_flow_cleans_up_and_stays_cancelled() -> None:
    cleaned: list[bool] = []

    def tidy() -> Generator[Step, Any, None]:
        try:
            yield Sleep(3_600)
        finally:
            cleaned.append(True)

    task = asyncio.create_task(arun(tidy(), client=AsyncClient()))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == [True]


async def test_the_machines_clock_passes_as_it_should() -> None:
    clock = SystemClock()
    before, began = clock.now(), clock.elapsed()
    clock.sleep(0.01)
    await clock.asleep(0.01)
    assert 0.019 <= clock.now() - before < 5
    assert 0.019 <= clock.elapsed() - began < 5
