"""Row 3: a person clears, marks or deletes what a task waits for, and the job's fate follows from what they did."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.e2e.airflow_cluster import AirflowCluster
from tests.e2e.matrix.cell import Counted
from tests.e2e.matrix.jobs import OPERATIONS, POINTS
from tests.e2e.matrix.one_task import TASK, OneTask
from tests.e2e.matrix.play import Performance, Record, Scenario, Stage
from tests.e2e.processes import eventually

pytestmark = pytest.mark.e2e

KINDS = ("fine_tune", "batch", "endpoint")
#: How a job of each kind says that it has failed, and that it has succeeded.
FAILED = {"fine_tune": "error", "batch": "FAILED", "endpoint": "ERROR"}
SUCCEEDED = {"fine_tune": "completed", "batch": "COMPLETED", "endpoint": "STARTED"}


def torn_down(kind: str, jobs: int) -> int:
    """Of so many jobs that nobody's action meant to end, those that the run's teardown ends."""
    return jobs if kind == "endpoint" else 0


def runs_on(kind: str) -> int:
    """How many jobs still run when a task without a teardown has succeeded."""
    return 1 if kind == "endpoint" else 0


# Cleared while it waits: "again". The old job is ended, and one new job runs.


def cleared_while_deferred(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, kind, f"{kind}_deferred_0_retries")
    task.start()
    first = task.wait_until_it_waits()
    task.clear()
    return ends_with_a_new_job(task, first)


def cleared_while_running(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, kind, f"{kind}_in_worker_0_retries")
    task.start()
    first = task.wait_until_it_waits()
    task.clear()
    eventually(lambda: task.adopted(first) or task.account.paid(kind) == 2, within=180, what="the new attempt's job")
    if task.adopted(first) and not task.account.emulator.counts()["cancelled"][kind]:
        return ends_with_the_job_that_airflow_left(task, first)
    return ends_with_a_new_job(task, first)


def ends_with_the_job_that_airflow_left(task: OneTask, job: str) -> Counted:
    """On a busy machine the 5 seconds that Airflow gives a process may not do to end its job, which is then adopted."""
    assert "::group::Post Execute" not in task.log("attempt=1.log"), "the process had time enough, and left its job"
    task.ends_as("success")
    assert task.returned() == job
    return task.count(ended=torn_down(task.kind, 1))


def run_cleared_while_it_waits(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, kind, f"{kind}_deferred_0_retries")
    task.start()
    first = task.wait_until_it_waits()
    task.airflow.clear_run(task.dag, task.run)
    return ends_with_a_new_job(task, first)


def ends_with_a_new_job(task: OneTask, first: str) -> Counted:
    second = task.wait_until_it_waits(2)
    task.wait_until_ended()
    task.ends_as("success")
    assert task.returned() == second != first
    if task.deferred:
        task.says("the task was cleared while it was waiting")
    else:
        task.says("A person stopped or cleared this task", "Submitting again")
    return task.count(wanted=2, ended=1 + torn_down(task.kind, 1))


def cleared_twice_at_once(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    """The second clear may come before or after the first one's attempt has submitted; one job is left either way."""
    task = OneTask(stage, kind, f"{kind}_deferred_0_retries")
    task.start()
    task.wait_until_it_waits()
    task.clear()
    task.clear()
    task.wait_until_ended()
    task.wait_until_it_waits(2)
    wanted = task.account.paid(kind)
    last = task.wait_until_it_waits(wanted)
    task.ends_as("success")
    assert task.account.paid(kind) == wanted <= 3
    assert task.returned() == last
    return task.count(wanted=wanted, ended=wanted - 1 + torn_down(kind, 1))


def cleared_again_while_the_new_attempt_waits(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, kind, f"{kind}_deferred_0_retries")
    task.start()
    task.wait_until_it_waits()
    task.clear()
    task.wait_until_it_waits(2)
    task.clear()
    third = task.wait_until_it_waits(3)
    task.wait_until_ended(2)
    task.ends_as("success")
    assert task.returned() == third
    return task.count(wanted=3, ended=2 + torn_down(kind, 1))


# Cleared after it had ended.


def cleared_after_success(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, kind, f"{kind}_deferred_0_retries")
    task.start()
    task.wait_until_it_waits()
    task.ends_as("success")
    first = task.returned()
    task.hold()
    task.clear()
    second = task.wait_until_it_waits(2)
    task.ends_as("success")
    assert task.returned() == second != first
    task.says("the task was cleared after it had succeeded")
    return task.count(wanted=2, ended=torn_down(kind, 2))


def failed_while_its_job_runs(stage: Stage[AirflowCluster], kind: str, dag: str) -> tuple[OneTask, str]:
    """A task that has failed, because its process was killed and no retry was left, and its job, which lives on."""
    task = OneTask(stage, kind, dag)
    task.start(die_at={TASK: POINTS["while waiting"].format(read=OPERATIONS[kind][1])})
    task.stage.expect_run(task.dag, task.run, "failed")
    [job] = task.jobs
    return task, job


def cleared_after_failure_while_its_job_runs(kind: str, how: str, stage: Stage[AirflowCluster]) -> Counted:
    task, job = failed_while_its_job_runs(stage, kind, f"{kind}_{how}_alone")
    task.clear()
    task.wait_until_it_waits()
    task.ends_as("success")
    assert task.returned() == job
    assert task.adopted(job)
    return task.count(running=runs_on(kind))


def cleared_after_failure_when_its_job_has_succeeded(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    task, job = failed_while_its_job_runs(stage, kind, f"{kind}_deferred_alone")
    task.let_go()
    wait_for_status(task, SUCCEEDED[kind])
    task.clear()
    task.ends_as("success")
    assert task.returned() == job
    return task.count(running=runs_on(kind))


def cleared_after_failure_when_its_job_has_failed(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    task, job = failed_while_its_job_runs(stage, kind, f"{kind}_deferred_alone")
    task.account.emulator.force(kind, job, FAILED[kind], error="the node caught fire")
    task.clear()
    second = task.wait_until_it_waits(2)
    task.ends_as("success")
    assert task.returned() == second != job
    task.says("has ended as")
    return task.count(wanted=2, running=runs_on(kind))


def cleared_after_it_failed_with_its_job(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, kind, f"{kind}_deferred_0_retries")
    task.account.emulator.settings(fail={kind: "the node caught fire"})
    task.start()
    first = task.wait_until_it_waits()
    task.ends_as("failed")
    task.hold()
    task.account.emulator.settings(fail={})
    task.airflow.clear_run(task.dag, task.run)
    second = task.wait_until_it_waits(2)
    task.ends_as("success")
    assert task.returned() == second != first
    return task.count(wanted=2, ended=torn_down(kind, 1))


def cleared_after_failure_with_other_inputs(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    task, first = failed_while_its_job_runs(stage, kind, f"{kind}_deferred_alone")
    (stage.folder / "number.txt").write_text("2")
    task.clear()
    second = task.wait_until_it_waits(2)
    task.wait_until_ended()
    task.ends_as("success")
    assert task.returned() == second != first
    task.says("the inputs have changed")
    return task.count(wanted=2, ended=1, running=runs_on(kind))


# `on_clear` forces either of the two.


def cleared_while_it_waits_to_reattach(kind: str, how: str, stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, kind, f"{kind}_{how}_reattach")
    task.start()
    job = task.wait_until_it_waits()
    task.clear()
    eventually(lambda: task.adopted(job), within=180, what="the adoption")
    task.wait_until_it_waits()
    task.ends_as("success")
    assert task.returned() == job
    return task.count(running=runs_on(kind))


def cleared_after_success_to_reattach(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, kind, f"{kind}_deferred_reattach")
    task.start()
    task.wait_until_it_waits()
    task.ends_as("success")
    job = task.returned()
    task.clear()
    task.ends_as("success")
    assert task.returned() == job
    assert task.adopted(job)
    return task.count(running=runs_on(kind))


def cleared_after_failure_to_rerun(kind: str, stage: Stage[AirflowCluster]) -> Counted:
    task, first = failed_while_its_job_runs(stage, kind, f"{kind}_deferred_rerun")
    task.clear()
    second = task.wait_until_it_waits(2)
    task.wait_until_ended()
    task.ends_as("success")
    assert task.returned() == second != first
    task.says("Submitting again, because the task was cleared")
    return task.count(wanted=2, ended=1, running=runs_on(kind))


# Marked or deleted: nobody waits for the job any more, so it is ended.


def marked(kind: str, how: str, state: str, stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, kind, f"{kind}_{how}_1_retries")
    task.start()
    task.wait_until_it_waits()
    task.mark(state)
    task.wait_until_ended()
    # What a task marked as successful was to start is used by the next one, which finds it ended.
    task.ends_as("failed" if kind == "endpoint" else state)
    row = task.airflow.tasks(task.dag, task.run)[TASK]
    assert (row["state"], row["try_number"]) == (state, 1), "Airflow keeps the person's word, and nothing is retried"
    wait_for_the_word(task)
    return task.count(ended=1)


def marked_failed_to_leave(kind: str, how: str, stage: Stage[AirflowCluster]) -> Counted:
    """What ends by itself goes on, and a clear adopts it. What bills is ended all the same, and made anew."""
    task = OneTask(stage, kind, f"{kind}_{how}_leave")
    task.start()
    first = task.wait_until_it_waits()
    task.mark("failed")
    task.airflow.wait_for_run(task.dag, task.run)
    if kind == "endpoint":
        task.wait_until_ended()
    else:
        eventually(lambda: "as on_kill says" in task.log(), within=120, what="the log's word on the job's going on")
    task.clear()
    last = task.wait_until_it_waits(2 if kind == "endpoint" else 1)
    task.ends_as("success")
    assert task.returned() == last
    assert (last == first) == (kind != "endpoint")
    ended = int(kind == "endpoint")
    return task.count(wanted=1 + ended, ended=ended, running=runs_on(kind))


def run_deleted(kind: str, how: str, stage: Stage[AirflowCluster]) -> Counted:
    task = OneTask(stage, kind, f"{kind}_{how}_1_retries")
    task.start()
    task.wait_until_it_waits()
    task.airflow.mark_run(task.dag, task.run, "failed")  # Airflow refuses to delete a run that runs
    task.airflow.wait_for_run(task.dag, task.run)  # which its teardown comes before
    task.airflow.delete_run(task.dag, task.run)
    task.wait_until_ended()
    task.let_go()
    wait_for_the_word(task)
    return task.count(ended=1)


def wait_for_the_word(task: OneTask) -> None:
    """Wait until the log says why the job was ended. A run may be over before its trigger has come to that.

    An endpoint's run has a teardown. Where that comes before a triggerer that is slow to pass on what the person did,
    the wait has ended by itself when nobody had told it to yet: it found no endpoint several times, and gave up.
    """
    said = ["a person stopped or cleared the task" if task.deferred else "A person stopped or cleared this task"]
    if task.kind == "endpoint":
        said.append("was given up: The API refused to show it")
    eventually(lambda: any(word in task.log() for word in said), within=120, what="the log's word on the job's end")


def wait_for_status(task: OneTask, status: str) -> None:
    def look() -> bool:
        return bool(task.account.emulator.jobs(task.kind)[0]["state"] == status)

    eventually(look, within=120, what=f"a job that is {status}")


Play = Callable[[Stage[AirflowCluster]], Counted]


def cases(kind: str) -> dict[str, Play]:
    """What a person does, and how it is played."""
    return {
        "cleared while deferred": partial(cleared_while_deferred, kind),
        "cleared while running": partial(cleared_while_running, kind),
        "run cleared while deferred": partial(run_cleared_while_it_waits, kind),
        "cleared twice at once": partial(cleared_twice_at_once, kind),
        "cleared, and again while the new attempt waits": partial(cleared_again_while_the_new_attempt_waits, kind),
        "cleared after success": partial(cleared_after_success, kind),
        "cleared after failure, job alive": partial(cleared_after_failure_while_its_job_runs, kind, "deferred"),
        "cleared after failure, job alive, in the worker": partial(
            cleared_after_failure_while_its_job_runs, kind, "in_worker"
        ),
        "cleared after failure, job succeeded since": partial(cleared_after_failure_when_its_job_has_succeeded, kind),
        "cleared after failure, job failed since": partial(cleared_after_failure_when_its_job_has_failed, kind),
        "cleared after it failed with its job": partial(cleared_after_it_failed_with_its_job, kind),
        "cleared after failure, other inputs": partial(cleared_after_failure_with_other_inputs, kind),
        "reattach: cleared while deferred": partial(cleared_while_it_waits_to_reattach, kind, "deferred"),
        "reattach: cleared while running": partial(cleared_while_it_waits_to_reattach, kind, "in_worker"),
        "reattach: cleared after success": partial(cleared_after_success_to_reattach, kind),
        "rerun: cleared after failure, job alive": partial(cleared_after_failure_to_rerun, kind),
        "marked failed while deferred": partial(marked, kind, "deferred", "failed"),
        "marked failed while running": partial(marked, kind, "in_worker", "failed"),
        "marked success while deferred": partial(marked, kind, "deferred", "success"),
        "marked success while running": partial(marked, kind, "in_worker", "success"),
        "leave: marked failed while deferred, cleared": partial(marked_failed_to_leave, kind, "deferred"),
        "leave: marked failed while running, cleared": partial(marked_failed_to_leave, kind, "in_worker"),
        "run deleted while deferred": partial(run_deleted, kind, "deferred"),
        "run deleted while running": partial(run_deleted, kind, "in_worker"),
    }


#: Cells that are played on every run of the CI.
REPRESENTATIVE = {
    ("fine_tune", "cleared while deferred"),
    ("fine_tune", "cleared after failure, job alive"),
    ("batch", "cleared while running"),
    ("endpoint", "marked failed while deferred"),
}
SCENARIOS = [
    pytest.param(
        Scenario("3", "Airflow", kind, case, play),
        id=f"{kind}: {case}",
        marks=() if (kind, case) in REPRESENTATIVE else pytest.mark.exhaustive,
    )
    for kind in KINDS
    for case, play in cases(kind).items()
]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_a_person_does_to_a_task_decides_on_its_job(
    scenario: Scenario[AirflowCluster], in_airflow: Performance[AirflowCluster], record_cell: Record
) -> None:
    record_cell(in_airflow.cell(scenario))
