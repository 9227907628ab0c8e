"""Whatever crashes and whatever answers are lost: no job is paid for twice, and none is orphaned."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.jobs.world import Crash, Process, Remote, waiting_record
from together_flows.errors import SubmissionUnknown
from together_flows.jobs.kind import kind_named
from together_flows.jobs.record import JobRecord, Phase
from together_flows.jobs.submission import SubmissionPolicy, submission

SPEC = {"training_file": "file-1", "model": "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"}


class SubmitOnce(RuleBasedStateMachine):
    """Attempts of two tasks that want one job each, with the same inputs, crashing where they like."""

    @initialize(shows_after=st.sampled_from([0.0, 2.0, 20.0]))
    def start(self, shows_after: float) -> None:
        self.remote = Remote(shows_after=shows_after)
        self.records: dict[str, JobRecord] = {}
        self.generation = {"a": 0, "b": 0}
        self.settled: dict[str, str] = {}

    @rule(
        key=st.sampled_from("ab"),
        dies_at=st.integers(0, 14),
        after=st.booleans(),
        loses=st.sampled_from(["", "answer", "request"]),
    )
    def attempt(self, key: str, dies_at: int, after: bool, loses: str) -> None:
        self.remote.lost_answers = int(loses == "answer")
        self.remote.lost_requests = int(loses == "request")
        process = Process(self.remote, self.records, key=key, dies_at=dies_at, after=after)
        flow = submission(kind_named("fine_tune"), SPEC, SubmissionPolicy(generation=self.generation[key]))
        try:
            self.settled[key] = process.drive(flow).id
        except (Crash, SubmissionUnknown):
            self.settled.pop(key, None)
        self.remote.lost_answers = self.remote.lost_requests = 0

    @rule(seconds=st.floats(0.1, 100))
    def time_passes(self, seconds: float) -> None:
        self.remote.now += seconds

    @precondition(lambda self: any(record.phase is Phase.SUBMITTED for record in self.records.values()))
    @rule()
    def a_waiting_task_is_cleared(self) -> None:
        for key, record in self.records.items():
            if record.phase is Phase.SUBMITTED:
                self.records[key] = waiting_record(record)
                self.generation[key] += 1
                self.settled.pop(key, None)

    @invariant()
    def a_settled_task_has_a_job_of_its_own(self) -> None:
        assert len(set(self.settled.values())) == len(self.settled)

    def teardown(self) -> None:
        """When every task has had an undisturbed attempt, each has exactly one running job and nothing else runs."""
        for key in "ab":
            self.remote.now += 100
            flow = submission(kind_named("fine_tune"), SPEC, SubmissionPolicy(generation=self.generation[key]))
            self.settled[key] = Process(self.remote, self.records, key=key).drive(flow).id
        assert sorted(self.remote.running()) == sorted(self.settled.values())


SubmitOnce.TestCase.settings = settings(max_examples=150, stateful_step_count=12, deadline=None)
TestSubmitOnce = SubmitOnce.TestCase
