"""What a check of a dataset finds: problems, each with its place and its mend, and the report that carries them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from together_flows.errors import DatasetInvalid

Purpose = Literal["fine-tune", "eval", "batch-api"]

DEFAULT_MAX_PROBLEMS = 1000
"""Problems kept in full; the rest is only counted, so that a file with a million bad lines needs no more memory."""

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a dataset.

    Attributes:
        line: the line it is on, from 1; 0 means the file as a whole. For rows that do not come from a file, the number
            of the row, from 1.
        column: the place within the line, such as `messages[1].role`; empty means the whole line.
        message: what is wrong, in one sentence.
        mend: what to do about it, in one sentence.
    """

    line: int
    column: str
    message: str
    mend: str

    def __str__(self) -> str:
        place = ", ".join(part for part in (f"line {self.line}" if self.line else "", self.column) if part)
        return f"{place or 'file'}: {self.message} {self.mend}".rstrip()


class ProblemLog:
    """Collects problems: keeps the first `limit` of them and counts the rest."""

    def __init__(self, limit: int = DEFAULT_MAX_PROBLEMS) -> None:
        self._limit = limit
        self._kept: list[Problem] = []
        self.count = 0

    def add(self, line: int, column: str, message: str, mend: str) -> None:
        self.count += 1
        if len(self._kept) < self._limit:
            self._kept.append(Problem(line, column, message, mend))

    def at(self, line: int) -> LineProblems:
        return LineProblems(self, line)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The kept problems in the order of the file."""
        return tuple(sorted(self._kept, key=lambda problem: problem.line))

    def invalid(self, what: str) -> DatasetInvalid:
        """The error that says that `what` cannot be used, with every problem that was kept."""
        noun = "problem" if self.count == 1 else "problems"
        kept = "" if self.count == len(self._kept) else f" (the first {len(self._kept)} are listed)"
        return DatasetInvalid(f"{what}: {self.count} {noun}{kept}.", problems=self.problems)


class LineProblems:
    """The problems of one line; the rules write here and need not know which line they look at."""

    __slots__ = ("_line", "_log", "found")

    def __init__(self, log: ProblemLog, line: int) -> None:
        self._log = log
        self._line = line
        self.found = 0

    def add(self, column: str, message: str, mend: str) -> None:
        self.found += 1
        self._log.add(self._line, column, message, mend)


@dataclass(frozen=True, slots=True)
class Report:
    """What one pass over a file has shown.

    Attributes:
        path: the file, as it was given.
        purpose: what it was checked for.
        format: `"conversation"`, `"instruction"`, `"preference"`, `"text"`, `"batch"` or `"eval"`; empty when it could
            not be told: no line is readable, or the file is Parquet.
        rows: samples, requests or records; blank lines and a CSV header do not count. 0 for Parquet, which is not read.
        bytes: size of the file.
        sha256: of the whole file, in hex: the `checksum` that an upload sends.
        problems: what is wrong, in the order of the file; at most `max_problems` of them.
        problem_count: how many problems there are in all.
        models: the models that the lines of a batch ask for, each once, in the order of appearance.
        columns: the columns of an evaluation dataset.
        approximate_tokens: see `estimate_tokens`.
    """

    path: str
    purpose: str
    format: str
    rows: int
    bytes: int
    sha256: str
    problems: tuple[Problem, ...]
    problem_count: int
    models: tuple[str, ...]
    columns: tuple[str, ...]
    approximate_tokens: int

    @property
    def ok(self) -> bool:
        """Whether the file obeys every rule of its purpose."""
        return self.problem_count == 0

    def raise_for_problems(self) -> None:
        """Do nothing for a good file.

        Raises:
            DatasetInvalid: the file has problems; the error carries all that the report holds.
        """
        if self.ok:
            return
        noun = "problem" if self.problem_count == 1 else "problems"
        raise DatasetInvalid(
            f"{self.path} cannot be used for {self.purpose}: {self.problem_count} {noun}.", problems=self.problems
        )


def shown(value: object) -> str:
    """A value as JSON, cut short: fit for a message."""
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return shortened(text)


def shortened(text: str) -> str:
    """A text cut to the length of a message, in printable characters: a key or a value may be megabytes of anything."""
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
    return "".join(character if character.isprintable() else "�" for character in cut)


def kind_of(value: object) -> str:
    """What JSON calls the type of a value, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an object" if isinstance(value, dict) else "an array" if isinstance(value, list) else "no JSON value"


def inside(place: str, key: str) -> str:
    """The dotted place of `key` within `place`."""
    name = shortened(key)
    return f"{place}.{name}" if place else name
