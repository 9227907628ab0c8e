"""A DAG run whose task `job` waits for a job that outlasts whatever is done to the task meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.e2e.airflow_cluster import AirflowCluster
from tests.e2e.matrix.accounts import SPEED
from tests.e2e.matrix.cell import Counted
from tests.e2e.matrix.play import Stage
from tests.e2e.processes import eventually

TASK = "job"

#: Emulated seconds per real second at which a job of the kind takes minutes, and its cancellation seconds.
_HELD: Mapping[str, float] = {"fine_tune": 2.0, "batch": 0.05, "endpoint": 0.5}
_WAITS_WITHIN = 180.0


class OneTask:
    """The run, seen from outside.

    Args:
        stage: where it is played.
        kind: of its job.
        dag: one of the matrix' DAGs whose only job is made by the task `job`.
    """

    def __init__(self, stage: Stage[AirflowCluster], kind: str, dag: str) -> None:
        self.stage = stage
        self.kind = kind
        self.dag = dag
        self.run = ""

    @property
    def airflow(self) -> AirflowCluster:
        return self.stage.on

    @property
    def account(self) -> Any:
        return self.stage.account

    def start(self, *, held: bool = True, **params: Any) -> None:
        """Start the run, on an account where the job does not end before it is let go."""
        if held:
            self.hold()
        self.run = self.stage.trigger(self.dag, **params)

    def hold(self) -> None:
        self.account.emulator.settings(speed=_HELD[self.kind])

    def let_go(self) -> None:
        self.account.emulator.settings(speed=SPEED * 5)

    @property
    def deferred(self) -> bool:
        return "_deferred" in self.dag

    @property
    def jobs(self) -> list[str]:
        """The ids of the account's jobs of this kind, oldest first, without endpoints that were deleted."""
        return list(reversed(self.account.job_ids(self.kind)))

    def wait_until_it_waits(self, number: int = 1) -> str:
        """Wait until a trigger, or the worker, has looked at the n-th job, which is the newest. Answers with its id."""
        self.account.wait_for_paid(self.kind, number, within=_WAITS_WITHIN)
        job = self.jobs[-1]
        state = "deferred" if self.deferred else "running"
        self.airflow.wait_for_task(self.dag, self.run, TASK, state, within=_WAITS_WITHIN)
        said = f"{self.kind}:{job}: "
        logs = ".log.trigger" if self.deferred else ".log"
        eventually(lambda: said in self.log(logs), within=_WAITS_WITHIN, what=f"the wait for {self.kind}:{job}")
        if self.deferred:
            self._wait_until_the_scheduler_knows()
        return job

    def _wait_until_the_scheduler_knows(self) -> None:
        """Wait until the scheduler has seen the end of the process that deferred. It fails a task woken earlier."""
        try_number = self.airflow.tasks(self.dag, self.run)[TASK]["try_number"]
        said = f"run_id='{self.run}', try_number={try_number}, map_index=-1)"

        def look() -> bool:
            lines = self.airflow.scheduler.log.read_text(errors="replace").splitlines()
            return any("Received executor event with state success" in line and said in line for line in lines)

        eventually(look, within=_WAITS_WITHIN, what=f"the scheduler's word on {self.run}", every=0.5)

    def wait_until(self, *states: str) -> None:
        """Wait for a state of the task."""
        self.airflow.wait_for_task(self.dag, self.run, TASK, *states, within=_WAITS_WITHIN)

    def wait_until_ended(self, number: int = 1) -> None:
        """Wait until so many of the jobs were told to end."""
        eventually(
            lambda: self.account.emulator.counts()["cancelled"][self.kind] >= number,
            within=_WAITS_WITHIN,
            what=f"the end of job {number} of kind {self.kind}",
        )

    def clear(self, *tasks: str) -> None:
        self.airflow.clear(self.dag, self.run, *(tasks or (TASK,)))

    def mark(self, state: str) -> None:
        self.airflow.mark(self.dag, self.run, TASK, state)

    @property
    def pid(self) -> int:
        """The process that runs the task."""
        return int(self.airflow.tasks(self.dag, self.run)[TASK]["pid"])

    def ends_as(self, state: str) -> None:
        """Let the jobs end, and wait for the end of the run."""
        self.let_go()
        self.stage.expect_run(self.dag, self.run, state, within=300)

    def returned(self) -> str:
        """The id of the job whose result the task returned."""
        reference = str(self.airflow.xcom(self.dag, self.run, TASK)["reference"])
        return reference.removeprefix(f"{self.kind}:")

    def log(self, part: str = ".log") -> str:
        """What the task's attempts, and the triggers that waited for them, wrote into files so named."""
        folder = self.airflow.home / "logs" / f"dag_id={self.dag}" / f"run_id={self.run}" / f"task_id={TASK}"
        return "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("*")) if part in path.name)

    def says(self, *words: str) -> None:
        """Fail unless the task's log says all of this."""
        log = self.log()
        missing = [said for said in words if said not in log]
        assert not missing, f"the log does not say {missing}:\n{log}"

    def adopted(self, job: str) -> bool:
        """Whether a later attempt has taken this job over."""
        return f"{self.kind}:{job} runs already for this task; adopted." in self.log()

    def count(self, *, wanted: int = 1, ended: int = 0, running: int = 0) -> Counted:
        """Count what was paid for, and fail if anything of another kind bills."""
        counted: Counted = self.account.count(self.kind, wanted=wanted, ended=ended, running=running)
        others = {kind: number for kind, number in self.account.emulator.billing().items() if kind != self.kind}
        assert not others, f"these still bill: {others}"
        return counted
