"""What importing costs: schedulers parse the modules that mention these every few seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_provider

PACKAGE = Path(airflow_provider.__file__).parent
MODULES = sorted(
    f"airflow_provider.{folder}.{path.stem}"
    for folder in ("operators", "sensors", "triggers", "hooks", "links")
    for path in (PACKAGE / folder).glob("*.py")
    if path.stem != "__init__"
)
#: CPU milliseconds over what `airflow.sdk` costs by itself, on a machine that takes so many for the yardstick, which is
#: to compile some functions. A slower machine is given more.
BUDGET_MS, YARDSTICK_MS = 50.0, 25.0

_PROBE = """
import importlib, json, sys, time
import airflow.sdk, airflow.triggers.base
from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator, TriggerRule, conf, literal
import airflow.sdk.exceptions
def yardstick():
    for _ in range(20):
        compile("\\n".join(f"def f{n}(a, b): return [a, b, {n}]" for n in range(120)), "measure", "exec")
def milliseconds(work):
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000
before = milliseconds(yardstick)
spent = milliseconds(lambda: importlib.import_module(sys.argv[1]))
print(json.dumps([spent, (before + milliseconds(yardstick)) / 2]))
"""


def measured(module: str) -> tuple[float, float]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, module], capture_output=True, text=True, env=environment, check=True
    )
    spent, yardstick = json.loads(done.stdout.splitlines()[-1])
    return spent, yardstick


def test_no_module_loads_an_http_library_of_ours_or_the_wire_contract() -> None:
    code = f"""
import importlib, json, sys
for module in {MODULES!r}:
    importlib.import_module(module)
print(json.dumps(sorted(sys.modules)))
"""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    loaded = json.loads(done.stdout.splitlines()[-1])
    heavy = (
        "httpx2",
        "together_flows.api",
        "together_flows.client",
        "together_flows.datasets",
        "together_flows.emulator",
    )
    assert [name for name in loaded if name.startswith(heavy)] == []
    assert "together_flows.errors" in loaded


@pytest.mark.parametrize("module", ["airflow_provider.operators.batch", "airflow_provider.sensors.job"])
def test_the_import_stays_within_its_budget(module: str) -> None:
    needed = []
    for _ in range(5):  # the least counts: what else is at work on the machine only ever adds
        spent, yardstick = measured(module)
        needed.append(spent / max(yardstick / YARDSTICK_MS, 1.0))
        if needed[-1] <= BUDGET_MS:
            break
    assert min(needed) <= BUDGET_MS, needed
