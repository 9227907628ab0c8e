"""`python -m dags_examples.demo`: the whole main job on real data, in Airflow and in Prefect, with no account.

It starts the emulator, makes training, validation and held-out files out of the standard library's own documentation,
and runs the shipped pipeline twice. Everything that it writes lies in the output folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dags_examples.demo.child import airflow_line, prefect_line, run_child
from dags_examples.demo.questions import Datasets, write_datasets
from together_flows.emulator import EmulatorProcess
from together_flows.jobs.pipeline import PipelineSummary

_LIMIT = 150.0
_MODEL = "Qwen/Qwen3-8B"


@dataclass(frozen=True)
class Orchestrator:
    """One of the two that run the pipeline."""

    name: str
    module: str
    show: Callable[[str], str | None]
    settings: Callable[[Path, EmulatorProcess], Mapping[str, str]]


def _airflow_settings(home: Path, emulator: EmulatorProcess) -> Mapping[str, str]:
    (home / "dags").mkdir(parents=True)
    connection = {"conn_type": "together", "password": emulator.api_key, "host": emulator.url}
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "0",  # the DAG runs in one process, without a scheduler
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW_CONN_TOGETHER_DEFAULT": json.dumps(connection),
    }


def _prefect_settings(home: Path, emulator: EmulatorProcess) -> Mapping[str, str]:
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "TOGETHER_API_KEY": emulator.api_key,
        "TOGETHER_BASE_URL": emulator.url,
    }


AIRFLOW = Orchestrator("airflow", "dags_examples.demo.airflow_run", airflow_line, _airflow_settings)
PREFECT = Orchestrator("prefect", "dags_examples.demo.prefect_run", prefect_line, _prefect_settings)


def main() -> int:
    """Run the demo, and answer with an exit code."""
    options = _options()
    began = time.monotonic()
    folder = Path(options.output).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    datasets = write_datasets(folder / "data")
    print("Real data, from the documentation of Python's standard library:")
    for name, rows in datasets.rows.items():
        print(f"  {name:11} {rows:6,} rows")
    wanted = [one for one in (AIRFLOW, PREFECT) if options.only in (None, one.name)]
    with EmulatorProcess(speed=options.speed) as emulator:
        print(f"\nThe emulator stands in for Together AI at {emulator.url}, {options.speed:g} times as fast as life.")
        shortfalls = [fault for one in wanted for fault in _run(one, emulator, datasets, folder)]
    print(f"\nEverything is in {folder}. The demo took {time.monotonic() - began:.0f} s.")
    for shortfall in shortfalls:
        print(f"FELL SHORT: {shortfall}")
    return 1 if shortfalls else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dags_examples.demo", description=__doc__)
    parser.add_argument("--output", default="demo_output", help="folder for everything that the demo writes")
    parser.add_argument("--speed", type=float, default=120.0, help="emulated seconds per real second")
    parser.add_argument("--only", choices=["airflow", "prefect"], help="run one of the two")
    return parser.parse_args()


def _run(one: Orchestrator, emulator: EmulatorProcess, datasets: Datasets, folder: Path) -> list[str]:
    """Run the pipeline in one orchestrator, print its summary, and answer with what fell short."""
    print(f"\n━━ The main job in {one.name.capitalize()}", flush=True)
    emulator.reset()
    output = folder / one.name
    output.mkdir()
    params = _params(datasets, output)
    with tempfile.TemporaryDirectory(prefix=f"together-demo-{one.name}-", ignore_cleanup_errors=True) as home:
        env = {**_plain_environment(), **one.settings(Path(home), emulator)}
        command = ["-m", one.module, json.dumps(params)]
        code = run_child(command, env=env, log=output / "log.txt", show=one.show, limit=_LIMIT)
    if code:
        tail = (output / "log.txt").read_text(errors="replace").splitlines()[-25:]
        print("\n".join(tail))
        return [f"{one.name} ended with exit code {code}; see {output / 'log.txt'}", *_left_running(one, emulator)]
    summary = PipelineSummary(**json.loads((output / "summary.json").read_text()))
    print(f"\nSummary of the run in {one.name.capitalize()}:")
    for line in summary.lines():
        print(f"  {line}")
    return [f"{one.name}: {fault}" for fault in _shortfalls(summary, datasets, output, emulator)]


def _params(datasets: Datasets, output: Path) -> dict[str, Any]:
    return {
        "training_path": str(datasets.training),
        "validation_path": str(datasets.validation),
        "heldout_path": str(datasets.held_out),
        "prompts_path": str(datasets.prompts),
        "output_folder": str(output),
        "model": _MODEL,
        "n_epochs": 2,
        "suffix": "stdlib",
        "budget": 10.0,
        "margin": 1.0,
    }


def _plain_environment() -> dict[str, str]:
    """This environment without the Airflow, Prefect or Together that its owner may have set up."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PREFECT", "TOGETHER"))
    }


def _shortfalls(summary: PipelineSummary, datasets: Datasets, output: Path, emulator: EmulatorProcess) -> list[str]:
    """What a person who trusts the summary would be wrong about."""
    created = {kind: count for kind, count in emulator.counts()["created"].items() if count and kind != "file"}
    lines = [json.loads(line) for line in (output / "batch_results.jsonl").read_text().splitlines()]
    asked = [json.loads(line)["custom_id"] for line in datasets.prompts.read_text().splitlines()]
    checks = {
        "the endpoint is not confirmed as stopped": summary.endpoint_ended,
        "the tuned model is not better": summary.tuned_score > summary.base_score,
        "the price was not known beforehand": summary.estimated_price_usd is not None,
        "a row of the batch is missing, or out of order": [line["custom_id"] for line in lines] == asked,
        "not exactly the one row that is too long has failed": summary.batch_failed == 1
        and lines[-1]["status"] == "failed",
        "the model's archive cannot be unpacked": _is_archive(Path(summary.archive)),
        # two batches: the rows, and once more the row that failed
        f"other jobs were paid for than the pipeline needs: {created}": created
        == {"fine_tune": 1, "evaluation": 2, "endpoint": 1, "batch": 2},
    }
    return [fault for fault, holds in checks.items() if not holds] + _left_running(None, emulator)


def _left_running(one: Orchestrator | None, emulator: EmulatorProcess) -> list[str]:
    left = emulator.billing()
    return [f"{one.name + ': ' if one else ''}still running: {left}"] if left else []


def _is_archive(path: Path) -> bool:
    if path.suffix == ".gz":
        with tarfile.open(path) as archive:
            return bool(archive.getnames())
    return path.is_file() and path.read_bytes()[:4] == b"\x28\xb5\x2f\xfd"


if __name__ == "__main__":
    sys.exit(main())
