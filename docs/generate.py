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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from together_flows.api import GROUPS, OPERATIONS, Entry, Reply
from together_flows.jobs import KINDS, JobKind, kind_named

__all__ = ["CREATES", "cells_of", "main", "own_tasks", "pages"]

DOCS = Path(__file__).parent
_WRITTEN_BY = "<!-- Written by docs/generate.py. Do not edit it here. -->"
_KINDS_BEGIN, _KINDS_END = "<!-- kinds: written by docs/generate.py -->", "<!-- end of kinds -->"

#: The operations that create a job of each kind.
CREATES: Mapping[str, tuple[str, ...]] = {
    "file": ("files.upload", "files.create", "files.initiate_multipart"),
    "fine_tune": ("fine_tunes.create",),
    "batch": ("batches.create",),
    "evaluation": ("evaluation.create",),
    "endpoint": ("endpoints.create",),
    "model_upload": ("models.upload",),
    "deployment": ("deployments.create",),
    "cluster": ("compute.create_cluster",),
    "shared_volume": ("compute.create_volume",),
    "video": ("videos.create",),
    "queue": ("queue.submit",),
    "rl_session": ("rl.create_session",),
    "rl_operation": (
        "rl.forward_backward",
        "rl.optim_step",
        "rl.sample",
        "rl.create_inference_checkpoint",
        "rl.create_training_checkpoint",
    ),
}

#: Operators and tasks for operations that neither begin a job nor end one.
_FURTHER_OPERATOR = {
    "files.content": "TogetherDownloadFileOperator",
    "finetune.download": "TogetherDownloadModelOperator",
}
_FURTHER_TASK = {"files.content": "download_file", "finetune.download": "download_model"}

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

_KIND_OF = {operation: kind for kind, operations in CREATES.items() for operation in operations}
_PROVIDER = DOCS.parent / "airflow_provider"


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
        "- *repeatable*: sending it twice is the same as sending it once, so a lost answer may be asked for again. "
        "`key` means that it is with an `idempotency_key`.",
        "- *answer*: how it is had. `send` gives a typed value, `stream` server-sent events, `download` a file on "
        "disk, `connect` a WebSocket session.",
        "- *job*: the [job kind](jobs.md) whose work it begins.",
        "- *Airflow*, *Prefect*: the operator or task of its own. All others, and these too, go through "
        "`TogetherOperator` and the task `call`. WebSocket sessions have no place in either.",
        "",
        "| operation | request | what it does | repeatable | answer | job | Airflow | Prefect |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_operation_row(entry) for entry in OPERATIONS.values()]
    return "\n".join(lines) + "\n"


def _operation_row(entry: Entry) -> str:
    kind = _KIND_OF.get(entry.name, "")
    group = entry.name.partition(".")[0]
    return _row(
        f"[`{entry.name}`](reference/{group}.md#{_anchor(entry.name)})",
        f"`{entry.method} {entry.path}`",
        entry.summary,
        _repeatable(entry),
        ", ".join(f"`{verb}`" for verb in _verbs(entry)),
        f"`{kind}`" if kind else "",
        _reached(entry, _own_operators().get(entry.name), "`TogetherOperator`"),
        _reached(entry, own_tasks().get(entry.name), "`call`"),
    )


@cache
def _own_operators() -> Mapping[str, str]:
    """The Airflow operator of each operation that has one of its own. The provider is read and not imported."""
    found = dict(_FURTHER_OPERATOR)
    for path in sorted((_PROVIDER / "operators").glob("*.py")):
        for name, kind in _kinds_of_classes(path.read_text(encoding="utf-8")):
            operations = _ends(kind_named(kind))[-1:] if "Teardown" in name else CREATES[kind]
            found |= dict.fromkeys(operations, name)
    return found


def _kinds_of_classes(source: str) -> Iterator[tuple[str, str]]:
    """Each class of a module that names a job kind, with that kind."""
    for node in ast.parse(source).body:
        for statement in node.body if isinstance(node, ast.ClassDef) else ():
            match statement:
                case ast.Assign(targets=[ast.Name(id="kind")], value=ast.Constant(value=str(kind))):
                    assert isinstance(node, ast.ClassDef)
                    yield node.name, kind


@cache
def own_tasks() -> Mapping[str, str]:
    """The Prefect task of each operation that has one of its own. The package is read and not imported."""
    found = dict(_FURTHER_TASK)
    folder = DOCS.parent / "together_flows" / "prefect" / "tasks"
    exported = set(re.findall(r'^    "(\w+)",$', (folder / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE))
    for path in sorted(folder.glob("*.py")):
        functions = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if _is_task(node)]
        kinds = [kind for node in functions if (kind := _submitted_kind(node))]
        for node in functions if kinds else ():
            if node.name not in exported:
                continue
            if node.name.startswith(("stop_", "delete_")):
                found |= dict.fromkeys(_ends(kind_named(kinds[0]))[-1:], node.name)
            elif not node.name.startswith("submit_") and _calls(node, "submit_"):
                found |= dict.fromkeys(CREATES[kinds[0]], node.name)
    return found


def _is_task(node: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    """Whether a statement defines a task for sync code."""
    return isinstance(node, ast.FunctionDef) and any("task(" in ast.unparse(each) for each in node.decorator_list)


def _calls(node: ast.FunctionDef, prefix: str) -> bool:
    """Whether a function calls one whose name begins so."""
    called = (call.func for call in ast.walk(node) if isinstance(call, ast.Call))
    return any(isinstance(function, ast.Name) and function.id.startswith(prefix) for function in called)


def _submitted_kind(node: ast.FunctionDef) -> str:
    """The job kind that a task submits by itself; empty if it does not."""
    for call in ast.walk(node):
        match call:
            case ast.Call(func=ast.Name(id="submit"), args=[ast.Constant(value=str(kind)), *_]):
                return kind
    return ""


def _reached(entry: Entry, own: str | None, generic: str) -> str:
    if entry.reply is Reply.SOCKET:
        return "no"
    return f"`{own}`" if own else generic


def _repeatable(entry: Entry) -> str:
    if entry.repeatable:
        return "yes"
    return "key" if "idempotency_key" in entry.parameters else "no"


def _verbs(entry: Entry) -> Iterator[str]:
    match entry.reply:
        case Reply.SOCKET:
            yield "connect"
        case Reply.BYTES:
            yield "download"
        case _:
            yield "send"
    if entry.streams:
        yield "stream"


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
    facts = [f"`{entry.method} /{entry.version}{entry.path}`", f"answers `{_answer_type(entry)}`"]
    facts += [", ".join(f"`client.{verb}`" for verb in _verbs(entry)), f"repeatable: {_repeatable(entry)}"]
    if kind := _KIND_OF.get(entry.name):
        facts.append(f"begins a job of the kind [`{kind}`](../jobs.md)")
    yield f"## `{entry.name}`"
    yield ""
    yield " · ".join(facts)
    yield ""
    yield documented.text
    yield ""
    for name, parameter in entry.parameters.items():
        yield _parameter_line(parameter, documented.arguments.get(name, ""))
    if entry.parameters:
        yield ""
    for title, text in documented.sections.items():
        yield f"{title}: {text}"
        yield ""
    yield from _code(example)


def _parameter_line(parameter: inspect.Parameter, text: str) -> str:
    needed = ", required" if parameter.default is inspect.Parameter.empty else ""
    told = f": {text}" if text else ""
    return f"- `{parameter.name}` (`{_plain_type(str(parameter.annotation))}`{needed}){told}"


def _answer_type(entry: Entry) -> str:
    return _plain_type(str(inspect.signature(inspect.unwrap(entry.function)).return_annotation))


class _WithoutMetadata(ast.NodeTransformer):
    """`Annotated[T, …]` and our own wrappers, as the type that a caller gives."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        self.generic_visit(node)
        name = node.value.id if isinstance(node.value, ast.Name) else ""
        if name == "Annotated":
            assert isinstance(node.slice, ast.Tuple)
            return node.slice.elts[0]
        return node.slice if name == "Nested" else node


def _plain_type(annotation: str) -> str:
    return ast.unparse(_WithoutMetadata().visit(ast.parse(annotation, mode="eval"))).replace(" | None", "")


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
        f"`{kind.read(_some_id(kind)).name}`",
        f"`{kind.list_all().name}`" if kind.list_all else "none",
        ", ".join(f"`{name}`" for name in _ends(kind)) or "the API cannot, or it must not be",
        _FOUND_BY[kind.name] if found else "**cannot be**",
        "**yes**" if kind.bills_until_stopped else "no",
    )


def _some_id(kind: JobKind) -> str:
    """An id that `read` takes, for the kinds that are read by more than one part."""
    return {"queue": "model/id", "rl_operation": "session/sample/id"}.get(kind.name, "id")


def _ends(kind: JobKind) -> list[str]:
    """The operations that end a job, found by walking through the steps with an answer that fits all of them."""
    if kind.end is None:
        return []
    names: list[str] = []
    steps = kind.end(_some_id(kind))
    try:
        step: Any = next(steps)
        while True:
            if hasattr(step, "operation"):
                names.append(step.operation.name)
            step = steps.send({"status": "provisioning", "state": "STOPPED", "id": "id"})
    except StopIteration:
        return [name for name in dict.fromkeys(names) if ".retrieve" not in name]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _code(code: str) -> list[str]:
    return ["```python", *code.splitlines(), "```"]


def _anchor(name: str) -> str:
    return name.replace(".", "")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
