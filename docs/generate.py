"""Writes the pages that follow from the code: `python -m docs.generate`, from the repository's root.

- `docs/operations.md`: a table of all operations;
- `docs/reference/<group>.md`: each operation of a group with its parameters, its documentation and an example;
- the table of job kinds in `docs/jobs.md`.

The examples are the cells of `docs/examples/<group>.py`, each named after its operation. A test runs them, and another
fails when a page is not what this module would write.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from docs.reach import CREATES, KIND_OF, clients, ends, is_emulated, operator, some_id, task, verbs
from together_flows.api import GROUPS, OPERATIONS, Entry
from together_flows.api.spelling import answer_type, parameter_type
from together_flows.jobs import KINDS, JobKind, kind_named

__all__ = ["cells_of", "main", "pages"]

DOCS = Path(__file__).parent
_WRITTEN_BY = "<!-- Written by docs/generate.py. Do not edit it here. -->"
_KINDS_BEGIN, _KINDS_END = "<!-- kinds: written by docs/generate.py -->", "<!-- end of kinds -->"

#: By what a lost job of a kind is found again, in a few words.
_FOUND_BY = {
    "file": "the API recognises the same content",
    "fine_tune": "the marker in the model's suffix",
    "batch": "its own input file, made unique by the marker",
    "evaluation": "the marker in the judge's template",
    "endpoint": "the marker in the display name",
    "model_upload": "the marker in the description",
    "deployment": "its name, and the marker in its description",
    "cluster": "the marker at the end of its name",
    "shared_volume": "the marker at the end of its name",
    "rl_operation": "the marker as idempotency key: a repetition answers with the first",
}

_COLUMNS = (
    *("operation", "request", "what it does", "sync/async", "answer", "repeatable"),
    *("Airflow", "Prefect", "emulator", "job"),
)


def pages() -> dict[Path, str]:
    """Every generated page with its content."""
    made = {DOCS / "operations.md": _operations_page()}
    made |= {DOCS / "reference" / f"{group}.md": _group_page(group) for group in GROUPS}
    jobs = DOCS / "jobs.md"
    made[jobs] = _with_kinds(jobs.read_text(encoding="utf-8"))
    return made


def main(arguments: list[str]) -> int:
    """Write the pages; with `--check` only say which are not current."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        sys.stdout.write("".join(f"{path.relative_to(DOCS.parent)} is not current\n" for path in stale))
        return 1 if stale else 0
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


def cells_of(group: str) -> dict[str, str]:
    """The cells of a group's examples, by name; the first is the introduction."""
    text = (DOCS / "examples" / f"{group}.py").read_text(encoding="utf-8")
    introduction, *cells = re.split(r"^# %% ([\w.]+)\n", text, flags=re.MULTILINE)
    named = {name: code.strip() for name, code in zip(cells[::2], cells[1::2], strict=True)}
    return {"introduction": inspect.cleandoc(ast.get_docstring(ast.parse(introduction)) or ""), **named}


def _operations_page() -> str:
    lines = [
        "# All operations",
        "",
        _WRITTEN_BY,
        "",
        f"{sum(entry.in_contract for entry in OPERATIONS.values())} operations of the API's contract, and after them "
        "the few that the wire needs besides. Each is a function in `together_flows.api.<group>` that returns a value; "
        "the sync client `Together` and the async client `AsyncTogether` send them all. "
        "[The client](client.md) says how.",
        "",
        "- *sync/async*: the clients that send it.",
        "- *answer*: how it is had. `send` gives a typed value, `stream` server-sent events, `download` a file on "
        "disk, `connect` a WebSocket session.",
        "- *repeatable*: sending it twice is the same as sending it once, so a lost answer may be asked for again. "
        "`key` means that it is with an `idempotency_key`.",
        "- *Airflow*, *Prefect*: the operator or task of its own, else the general one, `TogetherOperator` or `call`. "
        "The general ones send every operation in the table.",
        "- *emulator*: whether the [emulator](emulator.md) serves it.",
        "- *job*: the [job kind](jobs.md) whose work it begins.",
        "",
        _row(*_COLUMNS),
        "|---" * len(_COLUMNS) + "|",
    ]
    lines += [_operation_row(entry) for entry in OPERATIONS.values()]
    lines += ["", _count()]
    return "\n".join(lines) + "\n"


def _count() -> str:
    """How many of the contract's operations can be had in each way."""
    entries = [entry for entry in OPERATIONS.values() if entry.in_contract]

    def counted(had: Callable[[Entry], object]) -> str:
        return f"{sum(bool(had(entry)) for entry in entries)} of {len(entries)}"

    return (
        f"Of the contract's operations, the sync client sends {counted(lambda entry: 'sync' in clients(entry))} and "
        f"the async client {counted(lambda entry: 'async' in clients(entry))}; Airflow reaches {counted(operator)}, "
        f"Prefect {counted(task)}, and the emulator serves {counted(is_emulated)}. "
        f"{sum(entry.name in KIND_OF for entry in entries)} of them begin a job."
    )


def _operation_row(entry: Entry) -> str:
    kind = KIND_OF.get(entry.name, "")
    group = entry.name.partition(".")[0]
    return _row(
        f"[`{entry.name}`](reference/{group}.md#{_anchor(entry.name)})",
        f"`{entry.method} {entry.path}`",
        entry.summary,
        ", ".join(clients(entry)),
        ", ".join(f"`{verb}`" for verb in verbs(entry)),
        _repeatable(entry),
        f"`{operator(entry)}`" if operator(entry) else "no",
        f"`{task(entry)}`" if task(entry) else "no",
        "yes" if is_emulated(entry) else "no",
        f"`{kind}`" if kind else "",
    )


def _repeatable(entry: Entry) -> str:
    if entry.repeatable:
        return "yes"
    return "key" if "idempotency_key" in entry.parameters else "no"


def _group_page(group: str) -> str:
    cells = cells_of(group)
    entries = [OPERATIONS[name] for name in cells if name in OPERATIONS]  # in the order in which their examples run
    lines = [
        f"# `{group}`",
        "",
        _WRITTEN_BY,
        "",
        cells["introduction"],
        "",
        *(f"- [`{entry.name}`](#{_anchor(entry.name)}): {entry.summary}" for entry in entries),
        "",
        "The examples below run one after the other, after this:",
        "",
        *_code(cells["preparation"]),
    ]
    for entry in entries:
        lines += ["", *_operation_section(entry, cells[entry.name])]
    return "\n".join(lines) + "\n"


def _operation_section(entry: Entry, example: str) -> Iterator[str]:
    documented = _Documented.of(entry)
    facts = [f"`{entry.method} /{entry.version}{entry.path}`", f"answers `{answer_type(entry)}`"]
    facts += [", ".join(f"`client.{verb}`" for verb in verbs(entry)), f"repeatable: {_repeatable(entry)}"]
    if kind := KIND_OF.get(entry.name):
        facts.append(f"begins a job of the kind [`{kind}`](../jobs.md)")
    yield f"## `{entry.name}`"
    yield ""
    yield " · ".join(facts)
    yield ""
    yield documented.text
    yield ""
    for name, parameter in entry.parameters.items():
        yield _parameter_line(entry, parameter, documented.arguments.get(name, ""))
    if entry.parameters:
        yield ""
    for title, text in documented.sections.items():
        yield f"{title}: {text}"
        yield ""
    yield from _code(example)


def _parameter_line(entry: Entry, parameter: inspect.Parameter, text: str) -> str:
    needed = ", required" if parameter.default is inspect.Parameter.empty else ""
    told = f": {text}" if text else ""
    return f"- `{parameter.name}` (`{parameter_type(entry, parameter.name)}`{needed}){told}"


@dataclass(frozen=True)
class _Documented:
    """A docstring in its parts.

    Attributes:
        text: what comes before the sections.
        arguments: the description of each argument.
        sections: the other sections, by title.
    """

    text: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    sections: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, entry: Entry) -> _Documented:
        doc = inspect.getdoc(entry.function) or ""
        text, *sections = re.split(r"^(Args|Returns|Raises):\n", doc, flags=re.MULTILINE)
        found = dict(zip(sections[::2], sections[1::2], strict=True))
        arguments = _items(found.pop("Args", ""))
        raised = "; ".join(f"`{name}`: {text.rstrip('.')}" for name, text in _items(found.pop("Raises", "")).items())
        told = {title: " ".join(body.split()) for title, body in found.items()}
        return cls(text.strip(), arguments, told | ({"Raises": f"{raised}."} if raised else {}))


def _items(body: str) -> dict[str, str]:
    """`name: text` entries, each of which may go on in lines that are indented further."""
    items = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", body, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in items}


def _with_kinds(page: str) -> str:
    before, begin, rest = page.partition(_KINDS_BEGIN)
    _, end, after = rest.partition(_KINDS_END)
    if not (begin and end):
        raise SystemExit("docs/jobs.md has no place for the table of kinds.")
    table = [
        "| kind | created by | read by | listed by | ended by | a lost one is found again by | bills until ended |",
        "|---|---|---|---|---|---|---|",
        *(_kind_row(kind_named(name)) for name in KINDS),
    ]
    return f"{before}{begin}\n" + "\n".join(table) + f"\n{end}{after}"


def _kind_row(kind: JobKind) -> str:
    found = kind.carries is not None or kind.repeatable
    return _row(
        f"`{kind.name}`",
        ", ".join(f"`{name}`" for name in CREATES[kind.name]),
        f"`{kind.read(some_id(kind)).name}`",
        f"`{kind.list_all().name}`" if kind.list_all else "none",
        ", ".join(f"`{name}`" for name in ends(kind)) or "the API cannot, or it must not be",
        _FOUND_BY[kind.name] if found else "**cannot be**",
        "**yes**" if kind.bills_until_stopped else "no",
    )


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _code(code: str) -> list[str]:
    return ["```python", *code.splitlines(), "```"]


def _anchor(name: str) -> str:
    return name.replace(".", "")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
