"""Whatever crashes, whatever is lost, whoever clears and kills: nothing is paid for twice, and nothing is orphaned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.unit.jobs.lives import FORGOTTEN, Stage, Task, World
from tests.unit.jobs.specimens import SPECIMENS
from tests.unit.jobs.world import Process, Remote
from together_flows.jobs.kind import kind_named
from together_flows.jobs.record import Phase
from together_flows.jobs.submission import SubmissionPolicy, submission

#: One that is found by its marker, one that needs facts, one that is read by its name, one whose repetition the API
#: recognises, and one that cannot be found; each with what changes its inputs.
KINDS: dict[str, Callable[[int], dict[str, Any]]] = {
    "fine_tune": lambda number: {"n_epochs": 1 + number},
    "batch": lambda number: {"completion_window": f"{24 + number}h"},
    "deployment": lambda number: {"max_replicas": 1 + number},
    "rl_operation": lambda number: {"learning_rate": 1e-4 * (1 + number)},
    "video": lambda number: {"seconds": str(5 + number)},
}
TASKS = "ab"
DAY = 86_400.0

DUE: tuple[Stage, ...] = ("due",)
SUBMITTING: tuple[Stage, ...] = ("submitting",)
HERE: tuple[Stage, ...] = ("submitting", "waiting")
IN_PROCESS: tuple[Stage, ...] = ("waiting",)
WAITING: tuple[Stage, ...] = ("waiting", "deferred")
WANTED: tuple[Stage, ...] = (*SUBMITTING, *WAITING)
CLEARABLE: tuple[Stage, ...] = (*WANTED, "failed", "succeeded", "unwanted")

Rule = TypeVar("Rule", bound=Callable[..., None])

keys = st.sampled_from("aaab")
retries = st.booleans()


def where_one_is(stages: tuple[Stage, ...]) -> Callable[[Rule], Rule]:
    """Where a task is in one of these stages."""
    return precondition(lambda self: any(task.stage in stages for task in self.tasks.values()))


class SubmitOnce(RuleBasedStateMachine):
    """Two tasks that want one job each, with the same inputs, beside a stranger who wants the same."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__()
        self.kind, self.spec = kind_named(name), SPECIMENS[name].place(folder)

    @initialize(shows_after=st.sampled_from([0.0, 2.0, 20.0, 25.0]))
    def start(self, shows_after: float) -> None:
        self.world = World(self.kind, Remote(shows_after=shows_after))
        self.tasks = {key: Task(self.world, key, self.named(key)) for key in TASKS}
        self.judged = self.edits = 0
        theirs = Process(self.world.remote, {}, key="stranger")
        self.stranger = theirs.drive(submission(self.kind, self.named("stranger"), SubmissionPolicy())).id

    def named(self, key: str) -> dict[str, object]:
        """The specification, with a name of the task's own where the API lets only one have it."""
        return {**self.spec, "name": f"name-{key}"} if self.kind.read_named else dict(self.spec)

    def task(self, key: str, stages: tuple[Stage, ...]) -> Task:
        """A task in one of these stages, this one if it can be."""
        return next(task for task in (self.tasks[key], *self.tasks.values()) if task.stage in stages)

    @where_one_is(DUE)
    @rule(key=keys, ahead=st.sampled_from([0.0, 0.0, DAY, -DAY]))
    def an_attempt_begins(self, key: str, ahead: float) -> None:
        self.task(key, DUE).begin(ahead=ahead)

    @where_one_is(SUBMITTING)
    @rule(
        key=keys,
        steps=st.integers(1, 12),
        loses=st.sampled_from(["", "", "answer", "request"]),
        late=st.sampled_from([0.0, 0.0, 50.0, 80.0, 120.0]),
    )
    def an_attempt_goes_on(self, key: str, steps: int, loses: str, late: float) -> None:
        remote, task = self.world.remote, self.task(key, SUBMITTING)
        remote.lost_answers, remote.lost_requests, remote.late = int(loses == "answer"), int(loses == "request"), late
        for _ in range(steps):
            if task.stage == "submitting":
                task.advance()
        if loses == "answer" and not remote.lost_answers and late + remote.shows_after >= FORGOTTEN:
            task.forgets = True
            task.allowance += 1
        remote.lost_answers, remote.lost_requests, remote.late = 0, 0, 0.0

    @where_one_is(DUE)
    @rule(
        key=keys,
        until=st.sampled_from(["the intent is stored", "the job is made", "the id is stored"]),
        how=st.sampled_from(["dies", "is cleared", "is marked failed"]),
        edits=st.booleans(),
        then=st.sampled_from([0, 4, 20]),
    )
    def an_attempt_is_cut_short(self, key: str, until: str, how: str, edits: bool, then: int) -> None:
        """A few of the other rules in a row, because the narrow moments are where things go wrong."""
        task = self.task(key, DUE)
        made = self.world.paid(task.key)
        task.begin()
        while task.stage == "submitting" and not self.has_come(task, until, made):
            task.advance()
        if task.stage in HERE:
            {"dies": task.die, "is cleared": task.clear, "is marked failed": task.mark_failed}[how]()
        if then and task.is_at("due"):
            if edits:
                self.edit(task)
            task.begin()
            for _ in range(then):
                if task.is_at("submitting"):
                    task.advance()

    @where_one_is(DUE)
    @rule(key=keys, defers=st.booleans())
    def an_attempt_goes_well(self, key: str, defers: bool) -> None:
        task = self.task(key, DUE)
        task.begin()
        while task.stage == "submitting":
            task.advance()
        if task.stage == "waiting" and defers:
            task.defer()

    def has_come(self, task: Task, until: str, made: int) -> bool:
        record = self.world.records.get(task.key)
        if until == "the job is made":
            return self.world.paid(task.key) > made
        phase = Phase.INTENT if until == "the intent is stored" else Phase.SUBMITTED
        return record is not None and record.phase is phase

    @where_one_is(HERE)
    @rule(key=keys)
    def a_process_dies(self, key: str) -> None:
        self.task(key, HERE).die()

    @rule(seconds=st.floats(0.1, 100))
    def time_passes(self, seconds: float) -> None:
        self.world.remote.now += seconds

    @where_one_is(IN_PROCESS)
    @rule(key=keys)
    def a_task_is_deferred(self, key: str) -> None:
        self.task(key, IN_PROCESS).defer()

    @where_one_is(WAITING)
    @rule(key=keys, good=st.booleans(), looks=st.booleans())
    def a_job_ends(self, key: str, good: bool, looks: bool) -> None:
        task, specimen = self.task(key, WAITING), SPECIMENS[self.kind.name]
        if task.own_id in self.world.remote.running():
            self.world.remote.finish(task.own_id, (specimen.good if good else specimen.bad)[0])
            task.doomed.add(task.own_id)
            if not good:
                task.may_start_again()
        if looks:
            task.sees_the_end(retries=False)

    @where_one_is(WAITING)
    @rule(key=keys, retries=retries)
    def a_wait_looks(self, key: str, retries: bool) -> None:
        self.task(key, WAITING).sees_the_end(retries=retries)

    @where_one_is(WAITING)
    @rule(key=keys, retries=retries)
    def a_wait_is_given_up(self, key: str, retries: bool) -> None:
        self.task(key, WAITING).gives_up(retries=retries)

    @where_one_is(WAITING)
    @rule(key=keys)
    def a_deadline_passes(self, key: str) -> None:
        task = self.task(key, WAITING)
        task.runs_late()
        assert not self.kind.end or task.own_id not in self.world.running(task.key)

    @where_one_is(CLEARABLE)
    @rule(key=keys)
    def a_task_is_cleared(self, key: str) -> None:
        self.task(key, CLEARABLE).clear()

    @where_one_is(WANTED)
    @rule(key=keys)
    def a_task_is_marked_failed(self, key: str) -> None:
        task = self.task(key, WANTED)
        task.mark_failed()
        if self.kind.end and self.kind.carries and not task.forgets:
            assert self.world.running(task.key) == []

    @where_one_is(DUE)
    @rule(key=keys)
    def inputs_change(self, key: str) -> None:
        self.edit(self.task(key, DUE))

    def edit(self, task: Task) -> None:
        """Give it inputs that no task has had before."""
        self.edits += 1
        task.edit(**KINDS[self.kind.name](self.edits))

    @precondition(lambda self: any(task.kills for task in self.tasks.values()))
    @rule(steps=st.integers(1, 8))
    def a_kill_goes_on(self, steps: int) -> None:
        task = next(task for task in self.tasks.values() if task.kills)
        for _ in range(steps):
            if task.kills:
                task.kill_goes_on()

    @invariant()
    def nothing_is_paid_for_twice(self) -> None:
        for task in self.tasks.values():
            assert self.world.paid(task.key) <= task.allowance

    @invariant()
    def only_what_is_unwanted_is_ended(self) -> None:
        births = self.world.remote.births
        for caller, job_id in self.world.remote.endings[self.judged :]:
            assert births[job_id] == caller, "the job of another"
            twice = [other for other in births if births[other] == caller and other != job_id]
            assert job_id in self.tasks[caller].doomed or twice, "a job that is still wanted"
        self.judged = len(self.world.remote.endings)

    @invariant()
    def no_task_waits_for_what_it_wanted_before(self) -> None:
        for task in self.tasks.values():
            assert task.stage not in WAITING or task.own_id not in task.outdated

    @invariant()
    def no_job_has_two_tasks(self) -> None:
        jobs = [task.job for task in self.tasks.values() if task.stage in ("waiting", "deferred")]
        assert len({*jobs, self.stranger}) == len(jobs) + 1

    def teardown(self) -> None:
        """Left in peace, each task comes to have the one job that it wants, and nothing else runs."""
        if not hasattr(self, "tasks"):
            return
        self.world.remote.now += 200
        for task in self.tasks.values():
            while task.kills:
                task.kill_goes_on()
            if task.stage == "failed":
                task.clear()
            for _ in range(8):
                self.left_in_peace(task)
            self.nothing_is_paid_for_twice()
            self.only_what_is_unwanted_is_ended()
            assert task.stage in ("waiting", "deferred", "succeeded", "unwanted", "told")
            waits = task.stage in ("waiting", "deferred")
            assert not waits or task.own_id in self.world.running(task.key)
            if self.kind.end and not task.forgets:
                assert self.world.running(task.key) == [task.own_id] * waits

    def left_in_peace(self, task: Task) -> None:
        """One undisturbed attempt, from wherever the task stands, up to the wait for a job that runs."""
        if task.stage == "due":
            task.begin()
        while task.stage == "submitting":
            task.advance()
        if task.stage in ("waiting", "deferred"):
            task.sees_the_end(retries=True)


@pytest.mark.parametrize("name", KINDS)
def test_one_job_one_bill_no_orphan(name: str, tmp_path: Path) -> None:
    run_state_machine_as_test(
        lambda: SubmitOnce(name, tmp_path),  # type: ignore[arg-type] # hypothesis takes what makes a machine, too
        settings=settings(
            max_examples=200,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
        ),
    )
