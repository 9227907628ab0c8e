"""What importing the package brings along."""

from __future__ import annotations

import subprocess
import sys

import pytest

import together_flows.datasets


def modules_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_package_itself_loads_nothing() -> None:
    modules = modules_after("import together_flows.datasets")
    assert "msgspec" not in modules
    assert {name for name in modules if name.startswith("together_flows.")} == {"together_flows.datasets"}


def test_its_names_load_nothing_heavy_and_nothing_else_of_this_project() -> None:
    modules = modules_after("from together_flows.datasets import *")
    assert not modules & {"httpx2", "pydantic", "fsspec", "sqlite3", "tempfile", "asyncio", "airflow", "prefect"}
    ours = {name for name in modules if name.startswith("together_flows.")}
    assert all(name.startswith(("together_flows.datasets", "together_flows.errors")) for name in ours)


def test_every_public_name_is_there_and_no_other() -> None:
    assert dir(together_flows.datasets) == sorted(together_flows.datasets.__all__)
    assert all(getattr(together_flows.datasets, name).__module__ for name in together_flows.datasets.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        together_flows.datasets.nothing  # noqa: B018  # the access is the test
