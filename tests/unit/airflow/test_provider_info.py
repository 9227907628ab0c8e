"""What Airflow is told about the provider."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import pytest

from airflow_provider import get_provider_info


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(airflow.__file__).parent / name).read_text())
    return found


def test_it_fits_the_schema_by_which_airflow_reads_it() -> None:
    jsonschema.validate(get_provider_info(), schema("provider_info.schema.json"))


def test_the_connection_form_fits_the_schema_that_defines_it() -> None:
    [connection] = get_provider_info()["connection-types"]
    [allowed] = [schema("provider.yaml.schema.json")["properties"]["connection-types"]["items"]]
    jsonschema.validate(connection, allowed)


@pytest.mark.parametrize("kind", ["operators", "sensors", "hooks", "triggers"])
def test_every_module_that_is_named_exists(kind: str) -> None:
    for entry in get_provider_info()[kind]:
        for module in entry["python-modules"]:
            importlib.import_module(module)


def test_every_module_of_operators_is_named() -> None:
    folder = Path(str(importlib.import_module("airflow_provider.operators").__file__)).parent
    [entry] = get_provider_info()["operators"]
    named = {module.rpartition(".")[2] for module in entry["python-modules"]}
    assert named == {path.stem for path in folder.glob("*.py")} - {"__init__"}


_DISCOVER = """
import json
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
hook = manager.hooks["together"]
print("found:" + json.dumps([hook.hook_class_name, hook.hook_name, sorted(manager.connection_form_widgets)]))
"""


def test_airflow_finds_the_connection_type_and_its_form_through_the_entry_point(tmp_path: Path) -> None:
    installed = tmp_path / "together_flows-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: together-flows\nVersion: 0.1.0\n")
    (installed / "entry_points.txt").write_text(
        "[apache_airflow_provider]\nprovider_info = airflow_provider:get_provider_info\n"
    )
    paths = [str(tmp_path), str(Path(__file__).parents[3])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", _DISCOVER], capture_output=True, text=True, env=environment)
    found = [line for line in done.stdout.splitlines() if line.startswith("found:")]
    assert found, done.stderr
    hook_class, name, widgets = json.loads(found[0].removeprefix("found:"))
    assert hook_class == "airflow_provider.hooks.together.TogetherHook"
    assert name == "Together AI"
    assert "extra__together__timeout" in widgets


def test_the_extra_link_is_registered() -> None:
    for path in get_provider_info()["extra-links"]:
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name)
