"""Datasets for Together AI: check files, shard batches, merge their results, send again what failed.

- `validate` checks a file before it is uploaded: all problems, each with its line, its column and its mend.
- `BatchInput` turns any number of rows into files that the batch API takes.
- `merge_results` brings the results back into the order of the rows, each row accounted for.
- `repair_input` makes a batch of the rows that came to nothing.
- `salt` and `read_marker` make a file unique, so that a lost submission can be found again.

Everything streams: memory does not grow with the size of a file, and by a few dozen bytes a row with a batch.
"""

from __future__ import annotations

from together_flows.datasets.batch_input import BatchInput, Shard
from together_flows.datasets.marker import read_marker, salt
from together_flows.datasets.merging import MergeSummary, merge_results
from together_flows.datasets.repair import repair_input
from together_flows.datasets.report import Problem, Report
from together_flows.datasets.tokens import estimate_tokens
from together_flows.datasets.validation import validate

__all__ = [
    "BatchInput",
    "MergeSummary",
    "Problem",
    "Report",
    "Shard",
    "estimate_tokens",
    "merge_results",
    "read_marker",
    "repair_input",
    "salt",
    "validate",
]
