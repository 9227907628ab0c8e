"""Writes what has come of the rows in the order of the input, one at a time."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from together_flows.errors import TogetherError
from together_flows.inference.journal import Journal
from together_flows.inference.places import Place

__all__ = ["Tally", "write_output"]


@dataclass
class Tally:
    """What has come of all rows, in this attempt and in those before.

    Attributes:
        rows: how many there are; `succeeded` and `failed` add up to them.
        succeeded: rows with an answer.
        failed: rows with an error.
        prompt_tokens: tokens that were read.
        completion_tokens: tokens that were written.
        cost_usd: what the answers cost in US dollars, as far as it is known.
        first_error: what the first row that has failed says.
    """

    rows: int = 0
    succeeded: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    first_error: str = ""


def write_output(journal: Journal, rows: int, target: Place) -> Tally:
    """Write the line of each row.

    Args:
        journal: what has come of them.
        rows: how many there are.
        target: takes its name when it is complete.
    """
    tally = Tally(rows=rows)
    with target.replacing() as stream:
        for index in range(rows):
            entry = journal.entry(index)
            if entry is None:
                raise TogetherError(f"Row {index} has no outcome. This is a defect of the fan-out.")
            stream.write(bytes(entry.output) + b"\n")
            tally.succeeded += entry.succeeded
            tally.failed += not entry.succeeded
            if not entry.succeeded and not tally.first_error:
                tally.first_error = msgspec.json.decode(entry.output)["error"]["message"]
            tally.prompt_tokens += entry.prompt_tokens
            tally.completion_tokens += entry.completion_tokens
            tally.cost_usd += entry.cost_usd
    return tally
