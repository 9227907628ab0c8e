"""How the command speaks: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import typer

from together_flows.errors import ConnectionFailed, TogetherError

__all__ = ["print_json", "print_line", "print_table", "say", "telling", "warnings_are_said"]

P = ParamSpec("P")
R = TypeVar("R")

#: What a shell reports for a command that was interrupted.
_INTERRUPTED = 130
_NOT_THERE = (
    "Is TOGETHER_BASE_URL right? Without it the address is Together's own. "
    "`together-flows emulator` starts an emulator on this machine."
)
_COLOURS = {"warning": typer.colors.YELLOW, "error": typer.colors.RED}


def print_line(text: str) -> None:
    """A line of the result."""
    sys.stdout.write(f"{text}\n")


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """The result as JSON, and nothing but JSON."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", by_alias=True)
    print_line(json.dumps(value, indent=indent, ensure_ascii=False, default=str))
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, alarming: Collection[str] = ()) -> None:
    """Rows as a table, each in one line however long, so that what is copied or searched for is whole.

    Args:
        columns: their heads.
        rows: their cells.
        alarming: first cells of the rows that are to be seen first.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row), style="bold red" if row[0] in alarming else None)
    console = Console(file=sys.stdout)
    console.width = sum(max(map(len, column)) + 2 for column in zip(columns, *rows, strict=True))
    console.print(table, soft_wrap=True)


def say(message: str, level: str = "info") -> None:
    """A line for the person who watches."""
    if level == "debug":
        return
    typer.secho(f"{time.strftime('%H:%M:%S')} ", dim=True, nl=False, err=True)
    typer.secho(message, fg=_COLOURS.get(level), err=True)


def telling(command: Callable[P, R]) -> Callable[P, R]:
    """Errors of ours are told in a line, not in a traceback, and so is an interruption."""

    @wraps(command)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            warnings_are_said()
            return command(*args, **kwargs)
        except TogetherError as error:
            typer.secho(type(error).__name__, fg=typer.colors.RED, bold=True, nl=False, err=True)
            typer.echo(f": {error}", err=True)
            if isinstance(error, ConnectionFailed) and not error.sent:
                typer.echo(_NOT_THERE, err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt as interruption:
            typer.echo(f"\nInterrupted. {interruption}".rstrip(), err=True)
            raise typer.Exit(_INTERRUPTED) from None

    return told


class _Said(logging.Handler):
    """What the client logs, such as that it tries again, in the manner of all other lines."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage(), record.levelname.lower())


def warnings_are_said() -> None:
    """Show what the package logs from warnings up. Doing it twice is harmless."""
    logger = logging.getLogger("together_flows")
    if not any(isinstance(handler, _Said) for handler in logger.handlers):
        logger.addHandler(_Said(logging.WARNING))
        logger.propagate = False
