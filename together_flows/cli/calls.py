"""Any operation of the API from the command line: listing them, explaining one, sending one."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from together_flows import Together
from together_flows.api import GROUPS, OPERATIONS, Entry, Operation, Reply
from together_flows.api._operation import Place, Wire
from together_flows.api.spelling import parameter_type
from together_flows.cli.console import print_json, print_line
from together_flows.errors import ArgumentInvalid
from together_flows.inference import check_session_input, converse
from together_flows.inference.sessions import SessionInput

__all__ = ["explain_operation", "list_operations", "send_operation"]

#: Fewest columns of a terminal in which a line holds the name, the request and the beginning of the summary.
_WIDE = 200


def list_operations(group: str, *, as_json: bool) -> None:
    """Print the operations, of one group or of all.

    Raises:
        ArgumentInvalid: there is no such group.
    """
    if group and group not in GROUPS:
        raise ArgumentInvalid(f"There is no group {group!r}.", mend=_instead(group, GROUPS, "The groups"))
    entries = [entry for name, entry in OPERATIONS.items() if not group or name.startswith(f"{group}.")]
    if as_json:
        print_json([_described(entry) for entry in entries])
    elif sys.stdout.isatty() and shutil.get_terminal_size().columns < _WIDE:
        _print_stacked(entries, shutil.get_terminal_size().columns)
    else:
        _print_columns(entries)


def explain_operation(name: str, *, as_json: bool) -> None:
    """Print what an operation does and what it takes.

    Raises:
        ArgumentInvalid: there is no such operation.
    """
    entry = _entry(name)
    if as_json:
        print_json(_described(entry) | {"documentation": inspect.getdoc(entry.function)})
        return
    print_line(f"{name}  {entry.method} /{entry.version}{entry.path}\n")
    print_line(inspect.getdoc(entry.function) or "")
    if entry.parameters:
        print_line("\nParameters:")
        for parameter in entry.parameters.values():
            needed = " (required)" if parameter.default is inspect.Parameter.empty else ""
            print_line(f"    {parameter.name}: {parameter_type(entry, parameter.name)}{needed}")


def send_operation(
    name: str, arguments: str, *, output: Path | None, stream: bool, session_input: Sequence[str]
) -> None:
    """Send one operation and print its answer, or its events, as JSON.

    Args:
        name: the operation.
        arguments: a JSON object; `@file` reads it from a file and `-` from standard input.
        output: where the bytes of a binary answer go.
        stream: print each event of the answer on a line of its own, as it comes.
        session_input: what goes into a WebSocket session: pieces of text, or one path or URL of a recording.

    Raises:
        ArgumentInvalid: there is no such operation, or its answer cannot be printed so.
    """
    entry = _entry(name)
    _check_answer(entry, output, stream)
    operation = entry.function(**_with_files(entry, _object(arguments)))
    check_session_input(operation, session_input)
    with Together() as client:
        if operation.reply is Reply.SOCKET:
            print_json(converse(client, operation, _only(session_input), output))
        elif stream:
            for event in client.stream(operation):
                print_json(event, indent=None)
        elif output is not None:
            print_json({"path": str(client.download(operation, output))})
        else:
            print_json(client.send(_plain(operation)))


def _plain(operation: Operation[Any]) -> Operation[Any]:
    """The operation answered by what the API sent, unless its answer is not the body."""
    return operation.untyped() if operation.reply is Reply.JSON else operation


def _only(session_input: Sequence[str]) -> SessionInput:
    """The input itself where one was given, and otherwise all pieces."""
    return session_input[0] if len(session_input) == 1 else session_input


def _check_answer(entry: Entry, output: Path | None, stream: bool) -> None:
    if stream:
        if not entry.streams:
            raise ArgumentInvalid(f"{entry.name} does not stream.", mend="Leave out --stream.")
        if output is not None:
            raise ArgumentInvalid("A stream goes to standard output.", mend="Leave out --output.")
    elif entry.reply is Reply.BYTES and output is None:
        raise ArgumentInvalid(f"{entry.name} answers with a file.", mend="Say where it goes with --output.")
    elif entry.reply not in (Reply.BYTES, Reply.SOCKET) and output is not None:
        raise ArgumentInvalid(f"{entry.name} answers with JSON, no file.", mend="Leave out --output, and write > file.")


def _entry(name: str) -> Entry:
    if name not in OPERATIONS:
        raise ArgumentInvalid(f"There is no operation {name!r}.", mend=_instead(name, OPERATIONS, ""))
    return OPERATIONS[name]


def _instead(name: str, known: Iterable[str], all_of_them: str) -> str:
    known = list(known)
    spelled = name.replace("-", "_").replace("/", ".")
    close = get_close_matches(spelled, known, n=3, cutoff=0.6)
    if not close and "." not in spelled:
        close = [other for other in known if other.partition(".")[0] == spelled][:3]
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"{all_of_them}: {', '.join(known)}." if all_of_them else "`together-flows operations` lists them."


def _object(text: str) -> dict[str, Any]:
    source = "The arguments"
    if text == "-":
        source, text = "Standard input", sys.stdin.read()
    elif text.startswith("@"):
        source = text[1:]
        text = _read(Path(source))
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ArgumentInvalid(f"{source}: no JSON: {error}.", mend="""Write them as '{"name": "value"}'.""") from None
    if not isinstance(value, dict):
        raise ArgumentInvalid(f"{source}: no JSON object.", mend="""Write them as '{"name": "value"}'.""")
    return value


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ArgumentInvalid(f"{path} cannot be read: {reason}.", mend="Check the path.") from None


def _with_files(entry: Entry, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, with the local files that are named by `@path` where the operation takes a file."""
    hints = get_type_hints(entry.function, include_extras=True)
    given = dict(arguments)
    for name, value in arguments.items():
        places = [part.place for part in getattr(hints.get(name), "__metadata__", ()) if isinstance(part, Wire)]
        if Place.PART in places and isinstance(value, str) and value.startswith("@"):
            given[name] = Path(value[1:])
            if not given[name].is_file():
                raise ArgumentInvalid(f"There is no file {value[1:]}.", mend="Check the path.")
    return given


def _described(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "method": entry.method,
        "path": f"/{entry.version}{entry.path}",
        "summary": entry.summary,
        "parameters": {
            parameter.name: {
                "type": parameter_type(entry, parameter.name),
                "required": parameter.default is inspect.Parameter.empty,
            }
            for parameter in entry.parameters.values()
        },
        "answer": str(entry.reply),
        "streams": entry.streams,
        "repeatable": entry.repeatable,
    }


def _print_columns(entries: Iterable[Entry]) -> None:
    """One line each, never cut, so that it can be searched."""
    rows = [(entry.name, f"{entry.method} {entry.path}", entry.summary) for entry in entries]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    for name, request, summary in rows:
        print_line(f"{name:<{first}}  {request:<{second}}  {summary}")


def _print_stacked(entries: Iterable[Entry], width: int) -> None:
    """The name on a line of its own, the rest below it and wrapped: for terminals that are not wide."""
    for entry in entries:
        print_line(entry.name)
        print_line(f"    {entry.method} {entry.path}")
        for line in textwrap.wrap(entry.summary, max(width - 4, 20)):
            print_line(f"    {line}")
