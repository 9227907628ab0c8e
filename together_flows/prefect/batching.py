"""Rows in, rows out, decided apart from Prefect: which files to run as batches next, and when it is enough.

`rounds` is a generator. It yields the shards to run, and is resumed with what came of each; a sync and an async task,
a few lines each, do the submitting, the waiting and the downloading.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from together_flows.datasets import BatchInput, MergeSummary, Shard, merge_results, repair_input, validate
from together_flows.datasets.storage import open_target
from together_flows.errors import JobCancelled, JobFailed, TogetherError
from together_flows.jobs.pricing import PriceEstimate, batch_price
from together_flows.jobs.steps import Steps
from together_flows.prefect.waits import error_of

__all__ = [
    "Ran",
    "Requests",
    "Rounds",
    "Rows",
    "allowed_failures",
    "files_to_download",
    "price_of",
    "result_of",
    "rounds",
]

Rows: TypeAlias = "Sequence[Mapping[str, Any] | str] | str"


@dataclass(frozen=True)
class Requests:
    """How rows become requests, and how often a row is sent.

    Attributes:
        model: the model for rows that name none.
        endpoint: what the batch calls.
        system: the system message for rows that begin with none.
        defaults: members of the body, such as `max_tokens`, for rows that do not set them.
        max_rows: most requests in one batch job; the API takes 50,000.
        row_retries: how often the rows that came to nothing are sent again.
    """

    model: str | None = None
    endpoint: str = "/v1/chat/completions"
    system: str | None = None
    defaults: Mapping[str, Any] | None = None
    max_rows: int = 50_000
    row_retries: int = 1

    def prepared(self, rows: Rows, folder: Path) -> BatchInput:
        """The batch files of the rows, or of the file that they are in."""
        options: dict[str, Any] = {
            "model": self.model,
            "endpoint": self.endpoint,
            "system": self.system,
            "defaults": self.defaults,
            "max_rows": self.max_rows,
        }
        if isinstance(rows, str):
            return BatchInput.from_file(rows, folder, **options)
        return BatchInput.from_rows(rows, folder, **options)


@dataclass(frozen=True)
class Ran:
    """What came of one shard.

    Attributes:
        outputs: downloaded files with answers.
        errors: downloaded files with failed rows.
        error: why its job came to nothing, or to something only in part.
    """

    outputs: Sequence[Path] = ()
    errors: Sequence[Path] = ()
    error: TogetherError | None = None

    @property
    def may_run_again(self) -> bool:
        """Whether sending its missing rows again is right: its job is over, and nobody has cancelled it."""
        return self.error is None or (isinstance(self.error, JobFailed) and not isinstance(self.error, JobCancelled))


@dataclass
class _Results:
    outputs: list[Path] = field(default_factory=list)
    errors: list[Path] = field(default_factory=list)

    def add(self, ran: Iterable[Ran]) -> None:
        for shard in ran:
            self.outputs += shard.outputs
            self.errors += shard.errors


Rounds: TypeAlias = Generator[Sequence[Shard], Sequence[Ran], MergeSummary]


def rounds(rows: Rows, folder: Path, target: str, requests: Requests) -> Rounds:
    """Run the rows, then once more what came to nothing, and write the results in the order of the rows.

    Args:
        rows: the rows, or the path or URL of a file with one a line.
        folder: an empty local folder for the work.
        target: where the results go, a local path or an fsspec URL. They are written also when an error follows.
        requests: how rows become requests.

    Raises:
        TogetherError: a job could not be waited for, or was cancelled by somebody else.
        JobFailed: not one row came to anything.
    """
    batch = requests.prepared(rows, folder / "rows")
    merged, results, todo = folder / "merged.jsonl", _Results(), batch
    for again in range(1, requests.row_retries + 2):
        ran = yield todo.shards
        results.add(ran)
        summary = merge_results(batch, results.outputs, results.errors, merged)
        left = None
        if all(shard.may_run_again for shard in ran) and again <= requests.row_retries:
            # The marker makes the files unlike the first ones, which the job records would take for done.
            left = repair_input(batch, merged, folder / f"again-{again}", marker=f"again{again}")
        if left is None:
            break
        todo = left
    _copy(merged, target)
    _raise_for(ran, summary)
    return summary


def _raise_for(ran: Sequence[Ran], summary: MergeSummary) -> None:
    for shard in ran:
        if shard.error is not None and not shard.may_run_again:
            raise shard.error
    failed = next((shard.error for shard in ran if shard.error is not None), None)
    if failed is not None and not summary.succeeded:
        raise failed


def _copy(source: Path, target: str) -> None:
    with source.open("rb") as stream, open_target(target) as out:
        shutil.copyfileobj(stream, out, 1 << 20)


def files_to_download(entry: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The output file and the error file of a batch job that has ended, well or not; either may be missing."""
    row = entry.get("status") if error_of(entry) else entry
    row = row if isinstance(row, Mapping) else {}
    return row.get("output_file_id") or None, row.get("error_file_id") or None


def result_of(entry: Mapping[str, Any], output: Path | None, errors: Path | None) -> Ran:
    """What came of a shard, once its files are downloaded."""
    return Ran(
        outputs=[output] if output else [],
        errors=[errors] if errors else [],
        error=error_of(entry),
    )


def price_of(shards: Sequence[Shard], requests: Requests) -> Steps[PriceEstimate]:
    """Steps that estimate what the rows cost: prompts as they are, answers at `max_tokens` where that is set."""
    prompts: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    longest = int((requests.defaults or {}).get("max_tokens") or 0)
    for shard in shards:
        report = validate(shard.path, purpose="batch-api", endpoint=requests.endpoint)
        for model in report.models:
            prompts[model] += report.approximate_tokens // len(report.models)
            answers[model] += longest * report.rows // len(report.models)
    return batch_price(prompts, output_tokens_by_model=answers)


def allowed_failures(rows: int, max_rows: int | None, max_share: float | None) -> int:
    """How many rows may come to nothing. That all of them do is never allowed."""
    limits = [rows - 1, max_rows, None if max_share is None else int(max_share * rows)]
    return min(limit for limit in limits if limit is not None)
