"""Merges the results of a batch into the order of its input, each row accounted for, in constant memory.

Two passes: the first reads every result file once and notes where each row's best line is; the second goes through the
rows in order and copies those lines over.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import IO, Any, Final

import msgspec

from together_flows.datasets.batch_input import BatchInput
from together_flows.datasets.report import Problem
from together_flows.datasets.result_ledger import LineFetcher, ResultLedger
from together_flows.datasets.result_lines import merged_line, missing_line
from together_flows.datasets.storage import Location, local_copy, name_of, open_target

_SHOWN_PROBLEMS = 20

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class MergeSummary:
    """What came of a merge. `succeeded`, `failed` and `missing` add up to `rows`.

    Attributes:
        rows: lines written.
        succeeded: rows with an answer.
        failed: rows that have only errors.
        missing: rows that no file mentions.
        unknown_ids: result lines whose `custom_id` is not in the batch; they are left out.
        duplicates: second and further answers, and second and further errors, for one row. A row that was sent twice
            and failed twice has two errors.
        corrupt_lines: result lines that cannot be read. Their rows are missing unless another line is about them.
        prompt_tokens: of the answers that were written, as the API counted them.
        completion_tokens: likewise.
        problems: each unknown id, duplicate and corrupt line with its file and line; at most 1,000.
    """

    rows: int
    succeeded: int
    failed: int
    missing: int
    unknown_ids: int
    duplicates: int
    corrupt_lines: int
    prompt_tokens: int
    completion_tokens: int
    problems: tuple[Problem, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The summary as small JSON: all counts, and the first 20 problems in words."""
        counts: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__ if name != "problems"}
        return counts | {"problems": [str(problem) for problem in self.problems[:_SHOWN_PROBLEMS]]}


def merge_results(
    batch: BatchInput,
    outputs: Iterable[Location],
    errors: Iterable[Location],
    target: Location,
    *,
    wanted: Collection[str] | None = None,
) -> MergeSummary:
    """Write one line for each row of a batch, in the order of its rows, from the result files of all its shards.

    A line is `{"custom_id", "index", "status", "response", "error", "status_code"}`: `index` is the row, from 0;
    `status` is `"succeeded"`, `"failed"` or `"missing"`; `response` is the body of the answer, or null; `error` is
    `{"message", "code"}`, or null. The columns of a row that were not sent come back under `"columns"`.

    An answer beats an error, whichever files they stand in. Of several answers the first is used, so that merging again
    with more files never changes one; of several errors the last.

    Args:
        batch: the input, as `BatchInput.load` opens it.
        outputs: output files, local paths or fsspec URLs, of any number of shards and submissions, in any order.
        errors: error files, likewise.
        target: the file to write, a local path or an fsspec URL. It takes its name only when it is complete.
        wanted: the `custom_id`s to write; `None` writes all. Rows that are not wanted are neither written nor counted.

    Raises:
        ArgumentInvalid: a result file is not there, or a wanted id is not in the batch.
        ConfigurationInvalid: a URL was given and its storage cannot be reached from here.
    """
    locations = (*outputs, *errors)
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(local_copy(location)) for location in locations]
        ledger = ResultLedger(batch, wanted)
        for number, location in enumerate(locations):
            ledger.read(number, files[number], name_of(location))
        stream = stack.enter_context(open_target(target))
        counts = _write(batch, ledger, stack.enter_context(LineFetcher(files)), stream)
    return MergeSummary(
        rows=counts.total(),
        succeeded=counts["succeeded"],
        failed=counts["failed"],
        missing=counts["missing"],
        unknown_ids=ledger.unknown_ids,
        duplicates=ledger.duplicates,
        corrupt_lines=ledger.corrupt_lines,
        prompt_tokens=ledger.prompt_tokens,
        completion_tokens=ledger.completion_tokens,
        problems=ledger.log.problems,
    )


def _write(batch: BatchInput, ledger: ResultLedger, fetcher: LineFetcher, stream: IO[bytes]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for index, row in enumerate(batch.read_rows()):
        if not ledger.is_wanted(row.custom_id):
            continue
        place = ledger.find(index)
        if place is None:
            line = missing_line(row.custom_id, index, row.columns)
        else:
            line = merged_line(fetcher.fetch(*place), index, row.columns)
        counts[line.status] += 1
        stream.write(_encode(line) + b"\n")
    return counts
