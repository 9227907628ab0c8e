"""What the pages say is so: generated pages are current, names exist, links lead somewhere, commands are understood."""

from __future__ import annotations

import ast
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from typer.main import get_command

from docs import generate, reach
from tests.unit.jobs.specimens import SPECIMENS
from together_flows import errors
from together_flows.api import GROUPS, OPERATIONS, Reply
from together_flows.cli.app import app
from together_flows.jobs import KINDS, kind_named
from together_flows.jobs.steps import Send

from .pages import DOCS, PAGES, ROOT, blocks, named_in

PROVIDER = ROOT / "airflow_provider"


@pytest.mark.parametrize("path", sorted(generate.pages()), ids=lambda path: path.name)
def test_a_generated_page_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == generate.pages()[path], "run: python -m docs.generate"


def test_the_table_counts_every_operation_in_every_way() -> None:
    *_, count = generate.pages()[DOCS / "operations.md"].splitlines()

    assert re.findall(r"(\d+) of (\d+)", count) == [("98", "98")] * 5


def test_an_operation_that_the_emulator_does_not_serve_is_not_said_to_be_served() -> None:
    entry = OPERATIONS["files.retrieve"]

    assert reach.is_emulated(entry)
    assert not reach.is_emulated(replace(entry, method="PUT"))
    assert not reach.is_emulated(replace(entry, path="/files/{id}/elsewhere"))
    assert not reach.is_emulated(replace(entry, path="/queue/submit", reply=Reply.SOCKET))


@pytest.mark.parametrize("group", GROUPS)
def test_every_operation_of_a_group_has_an_example_that_uses_it(group: str) -> None:
    cells = generate.cells_of(group)
    named = {name for name in OPERATIONS if name.startswith(f"{group}.")}

    assert cells.keys() - {"introduction", "preparation"} == named
    for name in named:
        calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(cells[name])) if isinstance(node, ast.Call)}
        assert name in calls


@pytest.mark.parametrize("kind", KINDS)
def test_what_creates_a_job_is_what_its_kind_sends(kind: str) -> None:
    """A batch is created from what its preparation has uploaded, and a file by the client, in one of three ways."""
    specimen = {**SPECIMENS[kind].spec}
    if kind == "batch":
        specimen = {"input_file_id": "file-1", "endpoint": specimen["endpoint"]}
    step = kind_named(kind).create(specimen)

    assert set(reach.CREATES[kind]) <= OPERATIONS.keys()
    if kind != "file":
        assert isinstance(step, Send)
        assert step.operation.name in reach.CREATES[kind]


def test_every_error_is_explained() -> None:
    assert set(errors.__all__) - named_in(DOCS / "client.md") == set()


def public_names(folder: Path, pattern: str) -> set[str]:
    """The classes of a folder's modules that are named so and exported."""
    found: set[str] = set()
    for path in folder.glob("*.py"):
        listed = re.search(r"^__all__ = \[(.*?)\]", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        found |= set(re.findall(rf'"({pattern})"', listed[1])) if listed else set()
    return found


@pytest.mark.parametrize("folder", ["operators", "sensors"])
def test_every_operator_and_sensor_is_described(folder: str) -> None:
    bases = {"TogetherJobOperator", "TogetherJobSensor", "TogetherBillingJobOperator", "TogetherTeardownOperator"}

    assert public_names(PROVIDER / folder, r"Together\w+") - bases - named_in(DOCS / "airflow.md") == set()


def test_the_tasks_that_the_table_names_exist_in_pairs() -> None:
    from together_flows import prefect

    own = set(reach.own_tasks().values())
    assert {"fine_tune", "stop_endpoint", "batch"} <= own
    for task in {*own, "call"}:
        assert {task, f"a{task}"} <= set(prefect.__all__)


def test_every_task_is_described() -> None:
    from together_flows.prefect import tasks

    pairs = {name for name in tasks.__all__ if f"a{name}" in tasks.__all__ and not name.startswith("submit_")}
    assert pairs - named_in(DOCS / "prefect.md") == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target


def commands(page: Path) -> list[list[str]]:
    """The calls of our command in the console blocks of a page."""
    lines = [line for block in blocks(page, "console") for line in block.text.splitlines()]
    calls = [line.removeprefix("$ together-flows ") for line in lines if line.startswith("$ together-flows ")]
    return [[word for word in shlex.split(call, comments=True) if word != "&"] for call in calls]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_commands_are_understood(page: Path) -> None:
    group = get_command(app)
    for name, *arguments in commands(page):
        command = group.commands[name]  # type: ignore[attr-defined] # a group of commands
        context = command.make_context(name, arguments)
        if name == "call":
            assert context.params["operation"] in OPERATIONS
