"""The shipped flows, as the examples call them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dags_examples.prefect import batch_inference as batch_example
from dags_examples.prefect import fine_tune_pipeline as pipeline_example
from tests.integration.prefect.conftest import BLOCK, created, running
from together_flows.emulator import Emulator
from together_flows.errors import BudgetExceeded, GateNotPassed, TogetherError
from together_flows.prefect import fine_tune_pipeline


@pytest.fixture
def quick_pipeline(emulator: Emulator, training: Path, heldout: Path, prompts: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        **pipeline_example.PARAMETERS,
        "credentials": BLOCK,
        "training_path": str(training),
        "validation_path": str(training),
        "heldout_path": str(heldout),
        "prompts_path": str(prompts),
        "output_folder": str(tmp_path / "out"),
        "prompt_column": "prompt",
        "poll_interval": 0.2,
    }


async def test_the_pipeline_serves_a_model_that_got_better(
    emulator: Emulator, quick_pipeline: dict[str, Any], tmp_path: Path
) -> None:
    summary = await fine_tune_pipeline(**quick_pipeline)
    assert summary["tuned_score"] > summary["base_score"] + 0.5
    assert summary["batch_succeeded"] == 12
    assert summary["endpoint_ended"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert len((tmp_path / "out" / "batch_results.jsonl").read_text().splitlines()) == 12
    assert Path(summary["archive"]).is_file()
    assert running(emulator) == {}


@pytest.mark.parametrize(
    ("change", "error", "spent"),
    [({"margin": 11.0}, GateNotPassed, 1), ({"budget": 0.01}, BudgetExceeded, 0)],
)
async def test_a_pipeline_that_must_not_go_on_fails_with_one_error_and_deploys_nothing(
    emulator: Emulator, quick_pipeline: dict[str, Any], change: dict[str, Any], error: type[TogetherError], spent: int
) -> None:
    with pytest.raises(error):
        await fine_tune_pipeline(**{**quick_pipeline, **change})
    assert created(emulator, "fine_tune") == spent
    assert created(emulator, "endpoint") == 0
    assert running(emulator) == {}


def test_the_batch_example_runs_once_from_the_command_line(
    emulator: Emulator, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", emulator.api_key)
    monkeypatch.setenv("TOGETHER_BASE_URL", emulator.url)
    batch_example.main(["--once", str(prompts), str(tmp_path / "out")])
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["rows"], summary["succeeded"]) == (12, 12)
    assert running(emulator) == {}
