"""Every example on the pages runs, against an emulator, in the order of its page."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from together_flows.client import instant_retries
from together_flows.emulator import Emulator
from together_flows.jobs import kind_named

from .pages import DOCS, blocks

#: Pages whose examples need no orchestrator, with the reference.
ALONE = ["client.md", "jobs.md", "datasets.md", "inference.md", "emulator.md"]
REFERENCE = sorted(f"reference/{path.name}" for path in DOCS.glob("reference/*.md"))


@pytest.fixture(scope="module")
def running_emulator() -> Iterator[Emulator]:
    with Emulator(speed=600) as emulator:
        yield emulator


@pytest.fixture
def emulator(running_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Emulator:
    """An emulator as good as new, which the environment names; the working folder is the test's own."""
    running_emulator.reset()
    monkeypatch.setenv("TOGETHER_API_KEY", running_emulator.api_key)
    monkeypatch.setenv("TOGETHER_BASE_URL", running_emulator.url)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.chdir(tmp_path)
    return running_emulator


@pytest.mark.parametrize("name", [*ALONE, *REFERENCE])
def test_the_examples_of_a_page_run_one_after_the_other(emulator: Emulator, name: str) -> None:
    found = blocks(DOCS / name, "python")
    namespace: dict[str, object] = {"__name__": "__main__"}

    with instant_retries():
        for block in found:
            exec(block.compiled(), namespace)

    assert found
    assert [kind for kind in emulator.billing() if kind_named(kind).bills_until_stopped] == []


_DAGS = """
import gc, json, sys
from airflow.sdk import DAG
namespace = {"__name__": "page"}
for code in json.load(sys.stdin):
    exec(code, namespace)
dags = {found.dag_id: sorted(found.task_ids) for found in gc.get_objects() if isinstance(found, DAG)}
print(json.dumps(dags))
"""


@pytest.mark.parametrize(
    "page", [DOCS / "airflow.md", DOCS / "sweep.md", DOCS.parent / "README.md"], ids=lambda page: page.name
)
def test_the_dags_of_a_page_can_be_parsed(page: Path, tmp_path: Path) -> None:
    code = [block.text for block in blocks(page, "python") if "DAG(" in block.text]
    parsed = subprocess.run(
        [sys.executable, "-c", _DAGS],
        input=json.dumps(code),
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
            "AIRFLOW_HOME": str(tmp_path),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
    )

    assert parsed.returncode == 0, parsed.stderr[-2000:]
    dags = json.loads(parsed.stdout.splitlines()[-1])
    assert len(dags) == len(code)
    assert all(dags.values())


def test_the_flows_of_prefects_page_are_flows() -> None:
    """They are defined here and not run, since running them takes a server: their guard is for that."""
    from prefect import Flow

    code = [block for block in blocks(DOCS / "prefect.md", "python") if ".save(" not in block.text]
    namespace: dict[str, object] = {"__name__": "page"}
    for block in code:
        exec(block.compiled(), namespace)

    named = re.findall(r'together_flow\(name="(.+?)"\)', "".join(block.text for block in code))
    defined = {value.name for value in namespace.values() if isinstance(value, Flow)}
    assert named
    assert set(named) <= defined
