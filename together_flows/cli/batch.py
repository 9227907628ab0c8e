"""A file of prompts in, a file of answers out: batches that the same command goes on with after any interruption.

What was submitted stands in an SQLite file. The shards are made again from the prompts each time, byte for byte, so a
job record whose fingerprint fits is the job of that shard. A shard whose batch has ended and left results is never sent
again, however its batch ended: only its rows without an answer are.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from together_flows import Together
from together_flows.api import files
from together_flows.cli.console import say
from together_flows.datasets import BatchInput, MergeSummary, Shard, merge_results, repair_input, validate
from together_flows.errors import ArgumentInvalid, JobFailed, TogetherError
from together_flows.jobs import (
    JobRecord,
    JobReference,
    PriceEstimate,
    SqliteStore,
    SubmissionPolicy,
    WaitPolicy,
    check_budget,
    conclude,
    end_job,
    kind_named,
    run,
    submit_once,
)
from together_flows.jobs.ending import look
from together_flows.jobs.pricing import batch_price
from together_flows.jobs.record import Phase
from together_flows.jobs.submission import submits_new
from together_flows.jobs.waiting import waiting

__all__ = ["BatchWishes", "default_state", "raise_for_failed_rows", "run_batch", "works_on"]

_KIND = kind_named("batch")
_RESULT_FIELDS = ("output_file_id", "error_file_id")


@dataclass(frozen=True, kw_only=True)
class BatchWishes:
    """What one run of the command asks for.

    Attributes:
        rows: path or fsspec URL of a `.jsonl` or `.csv` file.
        output: where the answers go, a path or an fsspec URL.
        model: for rows that name none.
        system: system message for rows that begin with none.
        max_tokens: most tokens of an answer, for rows that do not say.
        budget: US dollars that all batches may cost by the estimate at list prices; `None` for no limit.
        max_rows: most rows in one batch.
        row_retries: how often rows without an answer are sent again on their own.
        timeout: seconds that each batch may take, counted from its submission.
        poll_interval: seconds between two looks, in the long run.
        again: start anew, whatever earlier runs have submitted.
    """

    rows: str
    output: str
    model: str | None = None
    system: str | None = None
    max_tokens: int | None = None
    budget: float | None = None
    max_rows: int = 50_000
    row_retries: int = 1
    timeout: float | None = None
    poll_interval: float = 10.0
    again: bool = False

    @property
    def place(self) -> str:
        """Where the answers go, told so that the working folder of the shell does not count."""
        return self.output if "://" in self.output else str(Path(self.output).absolute())


def default_state(output: str) -> Path:
    """Where the job records are kept: beside the output; in the working folder when that is not on this machine."""
    folder = Path() if "://" in output else Path(output).parent
    return folder / ".together-flows" / "state.sqlite"


def run_batch(client: Together, wishes: BatchWishes, state: Path) -> dict[str, Any]:
    """Run the prompts, or go on where an earlier run of the same stopped, and write the answers in their order.

    Args:
        client: the account.
        wishes: what is asked for.
        state: the SQLite file with the job records.

    Returns:
        The counts of `MergeSummary`, `output_path` and `batches`.

    Raises:
        DatasetInvalid: prompts break the rules; nothing was submitted.
        BudgetExceeded: it would cost too much; nothing was submitted.
        JobFailed: a batch failed as a whole. Answers of the others are written all the same.
        KeyboardInterrupt: somebody interrupted it; the batches were left alone.
    """
    name = hashlib.sha256(f"{client.base_url}\n{wishes.place}".encode()).hexdigest()[:16]
    folder = state.parent / f"batch-{name}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(_lock(state, name)):
        work = _Work(client, wishes, SqliteStore(state), folder, name)
        summary = work.run()
        shutil.rmtree(folder, ignore_errors=True)
    batches = [str(job) for job in work.jobs]
    return {**summary.to_dict(), "output_path": wishes.output, "batches": batches}


def works_on(state: Path, key: str) -> bool:
    """Whether a run of the command is at work on what it keeps under a key.

    Args:
        state: the SQLite file with the job records.
        key: of a record in it.
    """
    lock = _lock(state, key.partition(":")[0].removeprefix("batch-"))
    if not lock.exists():
        return False
    with lock.open() as held:
        try:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _lock(state: Path, name: str) -> Path:
    return state.parent / f"batch-{name}.lock"


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Two runs at once would each submit."""
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArgumentInvalid(
                "Another run of this command writes to the same output.", mend="Wait for it, or end it first."
            ) from None
        yield


@dataclass
class _Work:
    client: Together
    wishes: BatchWishes
    store: SqliteStore
    folder: Path
    name: str
    jobs: list[JobReference] = field(default_factory=list)
    outputs: list[Path] = field(default_factory=list)
    error_files: list[Path] = field(default_factory=list)
    estimated: float = 0.0

    def run(self) -> MergeSummary:
        wishes = self.wishes
        defaults = None if wishes.max_tokens is None else {"max_tokens": wishes.max_tokens}
        batch = BatchInput.from_file(
            wishes.rows,
            self.folder / "rows",
            model=wishes.model,
            system=wishes.system,
            defaults=defaults,
            max_rows=wishes.max_rows,
        )
        say(f"{batch.rows} rows in {len(batch.shards)} batch(es), for {', '.join(batch.models)}.")
        todo = batch
        for round_number in range(wishes.row_retries + 1):
            errors = self._round(round_number, todo.shards)
            summary = merge_results(batch, self.outputs, self.error_files, wishes.output)
            say(f"{summary.succeeded} of {summary.rows} rows have an answer.")
            if lost := [error for error in errors if not _may_be_repaired(error)]:
                raise lost[0]
            if round_number == wishes.row_retries:
                break
            repair = repair_input(batch, wishes.output, self.folder / f"again-{round_number + 1}")
            if repair is None:
                break
            say(f"{repair.rows} rows without an answer are sent again.")
            todo = repair
        if errors and not summary.succeeded:
            raise errors[0]
        return summary

    def _round(self, number: int, shards: Sequence[Shard]) -> list[TogetherError]:
        """Run shards to their end, keep what they made, and answer with what went wrong."""
        wanted = {self._key(number, index): self._spec(shard) for index, shard in enumerate(shards)}
        ended = {key: job for key, spec in wanted.items() if (job := self._ended_with_results(key, spec))}
        missing = {key: spec for key, spec in wanted.items() if key not in ended}
        anew = any(self._is_new(key, spec) for key, spec in missing.items())
        self._end_unwanted(number, wanted, later=anew)
        self.estimated += sum(self._estimated_before(key) for key in ended)
        estimates = self._check_price(missing)
        jobs = {key: self._submit(key, spec, estimates.get(key)) for key, spec in missing.items()}
        try:
            errors = [error for key, job in jobs.items() if (error := self._ending(key, job))]
        except KeyboardInterrupt:
            running = ", ".join(str(job) for job in jobs.values())
            raise KeyboardInterrupt(
                f"The batches go on: {running}. The same command waits for them again and pays for nothing twice; "
                "`together-flows end` ends one."
            ) from None
        for key in wanted:
            self._keep_results(ended.get(key) or jobs[key])
        return errors

    def _key(self, round_number: int, index: int) -> str:
        return f"batch-{self.name}:{round_number}:{index}"

    def _spec(self, shard: Shard) -> dict[str, Any]:
        return {"input_path": str(shard.path), "input_sha256": shard.sha256, "endpoint": "/v1/chat/completions"}

    def _end_unwanted(self, round_number: int, wanted: Collection[str], *, later: bool) -> None:
        """End what an earlier run submitted for other prompts: in this round, and in later ones if this begins anew."""
        submitted = self.store.keys()
        for key in submitted:
            name, number, _ = key.rsplit(":", 2)
            of_this_batch = name == f"batch-{self.name}" and key not in wanted
            if of_this_batch and (int(number) == round_number or (later and int(number) > round_number)):
                self._end(key)

    def _end(self, key: str) -> None:
        record = self.store.load(key)
        if record is None or record.id is None or record.phase is Phase.ENDED:
            return
        say(f"{record.reference} is ended: the prompts have changed.")
        run(end_job(_KIND, record.id), client=self.client, log=say)
        self.store.save(key, record.advanced(Phase.ENDED))

    def _ended_with_results(self, key: str, spec: Mapping[str, Any]) -> JobReference | None:
        """The batch of an earlier run for this shard, if it has ended and left results, in whatever way it ended."""
        record = self.store.load(key)
        if self.wishes.again or not _fits(record, spec) or record is None or record.id is None:
            return None
        status = run(look(_KIND, record.id), client=self.client, log=say)
        if status is None or not status.state.is_final or not any(status.row.get(name) for name in _RESULT_FIELDS):
            return None
        say(f"{record.reference} of an earlier run has ended as {status.raw}; its results are used.")
        self.jobs.append(record.reference)
        return record.reference

    def _check_price(self, wanted: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
        """What each new batch will cost, as far as it can be known, after it was held against the budget."""
        budget = self.wishes.budget
        try:
            estimates = {key: self._price(spec) for key, spec in wanted.items() if self._is_new(key, spec)}
        except TogetherError as error:
            if budget is not None:
                raise
            say(f"The price cannot be estimated: {error}", "warning")
            return {}
        self.estimated += sum(self._estimated_before(key) for key in wanted if key not in estimates)
        if estimates:
            self.estimated += sum(estimate.usd for estimate in estimates.values())
            basis = next(iter(estimates.values())).basis
            say(f"Estimated price: ${self.estimated:.4f} ({basis}).")
            check_budget(PriceEstimate(self.estimated, basis), budget)
        return {key: estimate.usd for key, estimate in estimates.items()}

    def _estimated_before(self, key: str) -> float:
        """What the batch that was submitted under a key was estimated to cost."""
        record = self.store.load(key)
        return (record.estimated_usd if record else None) or 0.0

    def _is_new(self, key: str, spec: Mapping[str, Any]) -> bool:
        policy = SubmissionPolicy(replace=self.wishes.again)
        return submits_new(self.store.load(key), _KIND.fingerprint(spec), policy)

    def _price(self, spec: Mapping[str, Any]) -> PriceEstimate:
        report = validate(spec["input_path"], purpose="batch-api")
        prompts: Counter[str] = Counter()
        answers: Counter[str] = Counter()
        for model in report.models:
            prompts[model] += report.approximate_tokens // len(report.models)
            answers[model] += (self.wishes.max_tokens or 0) * report.rows // len(report.models)
        return run(batch_price(prompts, output_tokens_by_model=answers), client=self.client, log=say)

    def _submit(self, key: str, spec: Mapping[str, Any], estimate: float | None) -> JobReference:
        policy = SubmissionPolicy(replace=self.wishes.again, estimated_usd=estimate)
        record = submit_once(self.client, "batch", spec, store=self.store, key=key, policy=policy, log=say)
        self.jobs.append(record.reference)
        return record.reference

    def _ending(self, key: str, job: JobReference) -> TogetherError | None:
        """Wait for a batch and write its end into its record; the error says why it came to nothing."""
        record, seconds = self.store.load(key), self.wishes.timeout
        assert record is not None
        deadline = None if seconds is None else record.intent_at + seconds
        policy = WaitPolicy(deadline=deadline, interval=self.wishes.poll_interval)
        outcome = run(waiting(_KIND, job.id, policy), client=self.client, log=say)
        steps = conclude(_KIND, job, outcome, base_url=self.client.base_url)
        try:
            run(steps, client=self.client, store=self.store, key=key, log=say)
        except TogetherError as error:
            return error
        return None

    def _keep_results(self, job: JobReference) -> None:
        row = self.client.send(_KIND.read(job.id).untyped())
        for name, kept in zip(_RESULT_FIELDS, (self.outputs, self.error_files), strict=True):
            if not (file_id := row.get(name)):
                continue
            path = self.folder / f"{name}-{hashlib.sha256(file_id.encode()).hexdigest()[:16]}.jsonl"
            if not path.exists():
                self.client.download(files.content(file_id), path)
            kept.append(path)


def _fits(record: JobRecord | None, spec: Mapping[str, Any]) -> bool:
    return record is not None and record.fingerprint == _KIND.fingerprint(spec)


def _may_be_repaired(error: TogetherError) -> bool:
    """Whether rows without an answer are worth sending again: the batch ended by itself, and was not refused whole."""
    return isinstance(error, JobFailed) and error.status.get("status") == "EXPIRED"


def raise_for_failed_rows(result: Mapping[str, Any], allowed: int | None) -> None:
    """Fail if more rows ended without an answer than may.

    Args:
        result: what `run_batch` returned.
        allowed: how many may; all but one unless given.

    Raises:
        JobFailed: more have.
    """
    unanswered = result["failed"] + result["missing"]
    most = result["rows"] - 1 if allowed is None else allowed
    if unanswered > most:
        raise JobFailed(
            f"{unanswered} of {result['rows']} rows have no answer, and at most {most} may have none.",
            mend=f"Their errors are in {result['output_path']}.",
        )
    if unanswered:
        say(f"{unanswered} of {result['rows']} rows have no answer.", "warning")
