"""Datasets for Together AI: check files, shard batches, merge their results, send again what failed.

- `validate` checks a file before it is uploaded: all problems, each with its line, its column and its mend.
- `BatchInput` turns any number of rows into files that the batch API takes.
- `merge_results` brings the results back into the order of the rows, each row accounted for.
- `repair_input` makes a batch of the rows that came to nothing.
- `salt` and `read_marker` make a file unique, so that a lost submission can be found again.

Everything streams: memory does not grow with the size of a file, and by a few dozen bytes a row with a batch.

Importing this package costs next to nothing: the names below are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "BatchInput": "batch_input",
    "MergeSummary": "merging",
    "Problem": "report",
    "Report": "report",
    "Shard": "batch_input",
    "estimate_tokens": "tokens",
    "merge_results": "merging",
    "read_marker": "marker",
    "repair_input": "repair",
    "salt": "marker",
    "validate": "validation",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
