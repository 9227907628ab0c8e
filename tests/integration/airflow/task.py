"""One task instance without a scheduler: its attempts, clears, deferrals, and the store that outlives them.

What Airflow would keep in its database lies here as JSON text, so that nothing survives an attempt which would not
survive a process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.module_loading import import_string
from airflow.sdk.serde import deserialize, serialize
from airflow.triggers.base import BaseTrigger

__all__ = ["Deferral", "Task", "TaskStates", "kill_in_triggerer"]


@dataclass
class Deferral:
    """What Airflow keeps of a deferred task."""

    classpath: str
    trigger_kwargs: Any
    method: str
    kwargs: Any
    timeout: float | None

    @classmethod
    def of(cls, deferred: TaskDeferred) -> Deferral:
        classpath, kwargs = deferred.trigger.serialize()
        return cls(
            classpath=classpath,
            trigger_kwargs=json.loads(json.dumps(serialize(kwargs))),
            method=deferred.method_name,
            kwargs=json.loads(json.dumps(serialize(deferred.kwargs or {}))),
            timeout=deferred.timeout.total_seconds() if deferred.timeout else None,
        )

    def trigger(self, task: Task | None = None) -> BaseTrigger:
        """The trigger, made again as a triggerer makes it."""
        trigger: BaseTrigger = import_string(self.classpath)(**deserialize(self.trigger_kwargs))
        if task is not None:
            trigger.task_instance = task.instance
        return trigger

    def event(self) -> dict[str, Any]:
        """Wait as a triggerer does, until the trigger fires."""

        async def first() -> Any:
            return (await anext(self.trigger().run())).payload

        payload: dict[str, Any] = json.loads(json.dumps(asyncio.run(first())))
        return payload


@dataclass
class TaskStates:
    """Airflow's answer when it is asked for the states of tasks. `None` is what a cleared task has."""

    state: str | None = "running"
    missing: bool = False
    asked: int = 0

    def __call__(self, **criteria: Any) -> dict[str, dict[str, Any]]:
        self.asked += 1
        if self.state == "unreachable":
            raise ConnectionError("the API server does not answer")
        return {} if self.missing else {criteria["run_ids"][0]: {criteria["task_ids"][0]: self.state}}


@dataclass
class Task:
    """A task instance.

    Args:
        make: makes its operator anew, as each process does from the DAG file.
        retries: of the operator.
    """

    make: Callable[[], BaseOperator]
    retries: int = 1
    states: TaskStates = field(default_factory=TaskStates)

    def __post_init__(self) -> None:
        self.try_number = 1
        self.began = datetime.now(UTC)
        self.max_tries = self.retries
        self.clear_number = 0
        self.stored: dict[str, str] = {}
        self.xcoms: dict[str, Any] = {}

    @property
    def instance(self) -> Any:
        return SimpleNamespace(
            dag_id="dag",
            run_id="run",
            task_id="task",
            map_index=-1,
            try_number=self.try_number,
            max_tries=self.max_tries,
            start_date=self.began,
            xcom_push=self.xcoms.__setitem__,
            get_task_states=self.states,
        )

    def context(self, operator: BaseOperator) -> Any:
        """The context of a process that runs the task."""
        instance = self.instance
        instance.xcom_push = lambda key, value: self.xcoms.__setitem__(key, value)
        return {
            "ti": instance,
            "task": operator,
            "dag_run": SimpleNamespace(clear_number=self.clear_number),
            "task_state_store": _Store(self.stored),
        }

    def retry(self) -> None:
        """What Airflow does when an attempt has failed and a retry is left."""
        self.try_number += 1
        self.began = datetime.now(UTC)

    def clear(self) -> None:
        """What Airflow does when a person clears a task that is not running."""
        self.max_tries = self.try_number + self.retries
        self.try_number += 1
        self.clear_number += 1

    def clear_while_running(self) -> None:
        """What Airflow does when a person clears a running task: no clear shows in its tries."""
        self.try_number += 1
        self.clear_number += 1

    def run(self) -> Any:
        """Run an attempt in a process of its own: its result, or what is kept of its deferral."""
        operator = self.make()
        operator.retries = self.retries
        return self._until_deferred(lambda: operator.execute(self.context(operator)))

    def resume(self, deferral: Deferral, event: Mapping[str, Any]) -> Any:
        """Go on after a deferral, in another process."""
        operator = self.make()
        operator.retries = self.retries
        kwargs = {**deserialize(deferral.kwargs), "event": event}
        return self._until_deferred(lambda: operator.resume_execution(deferral.method, kwargs, self.context(operator)))

    def fail_deferral(self, error: str) -> Any:
        """Go on after the trigger itself has failed."""
        operator = self.make()
        operator.retries = self.retries
        return operator.resume_execution("__fail__", {"error": error}, self.context(operator))

    def finish(self) -> Any:
        """Run an attempt to its end, through as many deferrals as it takes."""
        outcome = self.run()
        while isinstance(outcome, Deferral):
            outcome = self.resume(outcome, outcome.event())
        return outcome

    @staticmethod
    def _until_deferred(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except TaskDeferred as deferred:
            return Deferral.of(deferred)


class _Store:
    """The task state store: it keeps JSON, by the task and not by the attempt."""

    def __init__(self, kept: dict[str, str]) -> None:
        self._kept = kept

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self._kept[key]) if key in self._kept else default

    def set(self, key: str, value: Any, *, retention: object = None) -> None:
        self._kept[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self._kept.pop(key, None)


def kill_in_triggerer(
    task: Task, deferral: Deferral, monkeypatch: pytest.MonkeyPatch, *, cancelled_every: float = 30
) -> None:
    """What a triggerer does with a trigger whose task a person has acted on: it cancels `run`, then calls `on_kill`."""
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", task.states)

    async def killed() -> None:
        trigger = deferral.trigger(task)
        run = asyncio.create_task(anext(trigger.run()))
        await asyncio.sleep(0.3)
        run.cancel()
        await asyncio.wait({run})
        kill = asyncio.create_task(asyncio.wait_for(trigger.on_kill(), timeout=30))
        while not (await asyncio.wait({kill}, timeout=cancelled_every))[0]:
            kill.cancel()
        await asyncio.wait({work for work in asyncio.all_tasks() if work.get_name() == "end unwanted jobs"} | {kill})
        await trigger.cleanup()

    asyncio.run(killed())
