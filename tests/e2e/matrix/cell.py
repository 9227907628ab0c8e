"""What a cell of the matrix says: how many jobs were wanted, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

import msgspec


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The emulator's own counts at the end of a scenario.

    Attributes:
        wanted: paid creations that the scenario called for.
        paid: paid creations that the emulator saw.
        orphaned: jobs that run, or ran to their end, although nobody wanted them any more.
        wrongly_cancelled: jobs that were ended although somebody still wanted them.
    """

    wanted: int
    paid: int
    orphaned: int
    wrongly_cancelled: int

    @property
    def holds(self) -> bool:
        return self.paid == self.wanted and not self.orphaned and not self.wrongly_cancelled

    def __add__(self, other: Counted) -> Counted:
        """Both together, where a scenario has jobs of two kinds."""
        return Counted(
            wanted=self.wanted + other.wanted,
            paid=self.paid + other.paid,
            orphaned=self.orphaned + other.orphaned,
            wrongly_cancelled=self.wrongly_cancelled + other.wrongly_cancelled,
        )


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: a scenario that was played to its end.

    Attributes:
        row: number of the matrix' row.
        where: `Airflow`, `Prefect` or `core`.
        kind: job kind.
        case: what happened.
        counted: the counts; `None` where the scenario broke down before it could count.
        problem: what else was wrong, such as the final state of the task; empty if nothing was.
    """

    row: str
    where: str
    kind: str
    case: str
    counted: Counted | None
    problem: str = ""

    @property
    def holds(self) -> bool:
        return self.counted is not None and self.counted.holds and not self.problem

    def dump(self) -> str:
        """As text, for another process."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str) -> Cell:
        """From what `dump` made of it."""
        return msgspec.json.decode(text, type=cls)


_HEADER = ("row", "where", "kind", "what happened", "wanted", "paid", "orphaned", "wrongly cancelled", "")


#: Kinds of one case, from which on they share a line as long as all of them hold.
_MANY = 8


def table(cells: Iterable[Cell]) -> str:
    """The matrix, a line for each cell; a case that holds for many kinds alike has one line with the sums."""
    ordered = sorted(cells, key=lambda cell: (cell.row, cell.where, cell.case, cell.kind))
    rows = [_HEADER]
    for _, group in groupby(ordered, key=lambda cell: (cell.row, cell.where, cell.case)):
        rows += _lines(list(group))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _lines(alike: list[Cell]) -> list[tuple[str, ...]]:
    if len(alike) < _MANY or not all(cell.holds for cell in alike):
        return [_line(cell) for cell in alike]
    counts = [cell.counted for cell in alike if cell.counted is not None]
    summed = Counted(
        wanted=sum(each.wanted for each in counts),
        paid=sum(each.paid for each in counts),
        orphaned=sum(each.orphaned for each in counts),
        wrongly_cancelled=sum(each.wrongly_cancelled for each in counts),
    )
    return [_line(replace(alike[0], kind=f"{len(alike)} kinds", counted=summed))]


def _line(cell: Cell) -> tuple[str, ...]:
    counts = cell.counted
    numbers = ("?",) * 4
    if counts is not None:
        numbers = (str(counts.wanted), str(counts.paid), str(counts.orphaned), str(counts.wrongly_cancelled))
    return (cell.row, cell.where, cell.kind, cell.case, *numbers, "holds" if cell.holds else "BROKEN")
