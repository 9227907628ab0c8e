"""How each operation can be had: what the table of all operations says, found in the code and not typed in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from together_flows.api import Entry, Reply
from together_flows.client import AsyncTogether, Together
from together_flows.emulator.routes import all_groups
from together_flows.inference import SESSIONS
from together_flows.jobs import JobKind, kind_named

__all__ = ["CREATES", "KIND_OF", "clients", "ends", "is_emulated", "operator", "own_tasks", "some_id", "task", "verbs"]

_ROOT = Path(__file__).parents[1]
_PROVIDER = _ROOT / "airflow_provider"

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

#: The job kind that an operation begins.
KIND_OF = {operation: kind for kind, operations in CREATES.items() for operation in operations}


def verbs(entry: Entry) -> Iterator[str]:
    """The methods of a client by which its answer can be had."""
    match entry.reply:
        case Reply.SOCKET:
            yield "connect"
        case Reply.BYTES:
            yield "download"
        case _:
            yield "send"
    if entry.streams:
        yield "stream"


def clients(entry: Entry) -> list[str]:
    """Which clients have every method that the operation needs."""
    both = {"sync": Together, "async": AsyncTogether}
    return [
        name for name, client in both.items() if all(callable(getattr(client, verb, None)) for verb in verbs(entry))
    ]


def is_emulated(entry: Entry) -> bool:
    """Whether the emulator has a route for it: of the WebSocket sort for a session."""
    return ("WEBSOCKET" if entry.reply is Reply.SOCKET else entry.method, _shape(entry.path)) in _routes()


def operator(entry: Entry) -> str:
    """The Airflow operator that sends it: its own, else the general one. Empty if there is none."""
    return _own_operators().get(entry.name) or ("TogetherOperator" if _has_general_form(entry) else "")


def task(entry: Entry) -> str:
    """The Prefect task that sends it: its own, else the general one. Empty if there is none."""
    return own_tasks().get(entry.name) or ("call" if _has_general_form(entry) else "")


def _has_general_form(entry: Entry) -> bool:
    """Whether the general operator and the general task can send it: a session takes a form in which it is held."""
    return entry.reply is not Reply.SOCKET or entry.name in SESSIONS


@cache
def _routes() -> frozenset[tuple[str, str]]:
    """Methods and paths that the emulator serves."""
    routes: list[Any] = [route for group in all_groups() for route in group.routes]
    return frozenset(
        (method, _shape(route.path)) for route in routes for method in getattr(route, "methods", None) or {"WEBSOCKET"}
    )


def _shape(path: str) -> str:
    """A path whose parameters have no names."""
    return re.sub(r"{[^}]*}", "{}", path)


@cache
def _own_operators() -> Mapping[str, str]:
    """The Airflow operator of each operation that has one of its own. The provider is read and not imported."""
    found = dict(_FURTHER_OPERATOR)
    for path in sorted((_PROVIDER / "operators").glob("*.py")):
        for name, kind in _kinds_of_classes(path.read_text(encoding="utf-8")):
            operations = ends(kind_named(kind))[-1:] if "Teardown" in name else CREATES[kind]
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
    folder = _ROOT / "together_flows" / "prefect" / "tasks"
    exported = set(re.findall(r'^    "(\w+)",$', (folder / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE))
    for path in sorted(folder.glob("*.py")):
        functions = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if _is_task(node)]
        kinds = [kind for node in functions if (kind := _submitted_kind(node))]
        for node in functions if kinds else ():
            if node.name not in exported:
                continue
            if node.name.startswith(("stop_", "delete_")):
                found |= dict.fromkeys(ends(kind_named(kinds[0]))[-1:], node.name)
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


def ends(kind: JobKind) -> list[str]:
    """The operations that end a job, found by walking through the steps with an answer that fits all of them."""
    if kind.end is None:
        return []
    names: list[str] = []
    steps = kind.end(some_id(kind))
    try:
        step: Any = next(steps)
        while True:
            if hasattr(step, "operation"):
                names.append(step.operation.name)
            step = steps.send({"status": "provisioning", "state": "STOPPED", "id": "id"})
    except StopIteration:
        return [name for name in dict.fromkeys(names) if ".retrieve" not in name]


def some_id(kind: JobKind) -> str:
    """An id that `read` takes, for the kinds that are read by more than one part."""
    return {"queue": "model/id", "rl_operation": "session/sample/id"}.get(kind.name, "id")
