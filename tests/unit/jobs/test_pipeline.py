"""What the shipped pipelines share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from together_flows.api import evaluation
from together_flows.errors import GateNotPassed
from together_flows.jobs.pipeline import PipelineSummary, check_gain, score_parameters


def summary(**changes: object) -> PipelineSummary:
    facts: dict[str, object] = {
        "base_model": "base",
        "model": "me/base-tuned",
        "fine_tune": "ft-1",
        "training_rows": 6190,
        "tokens": 123456,
        "estimated_price_usd": 4.0,
        "price_usd": 4.2,
        "base_score": 1.0,
        "tuned_score": 9.0,
        "endpoint": "endpoint-1",
        "endpoint_name": "me/base-tuned-1",
        "endpoint_ended": True,
        "smoke_answer": "hello",
        "batch_rows": 121,
        "batch_succeeded": 120,
        "batch_failed": 1,
        "results": "results.jsonl",
        "archive": "model.tar.zst",
    }
    return PipelineSummary(**{**facts, **changes})  # type: ignore[arg-type] # facts of the right types


@pytest.mark.parametrize(("base", "tuned", "margin"), [(5.0, 5.0, 0.0), (5.0, 4.0, 0.0), (5.0, 6.0, 1.5)])
def test_the_gate_holds_back_a_model_that_is_not_better_by_the_margin(base: float, tuned: float, margin: float) -> None:
    with pytest.raises(GateNotPassed, match=f"{tuned:.2f}"):
        check_gain(base, tuned, margin)


@pytest.mark.parametrize(("base", "tuned", "margin"), [(5.0, 6.5, 1.5), (5.0, 5.1, 0.0)])
def test_the_gate_lets_a_better_model_through(base: float, tuned: float, margin: float) -> None:
    assert check_gain(base, tuned, margin) == pytest.approx(tuned - base)


def test_the_scoring_is_a_valid_evaluation_that_uses_both_columns() -> None:
    parameters = score_parameters("m", judge_model="j", held_out_file="file-1", prompt_column="q", reference_column="a")
    body = evaluation.create(type="score", parameters=parameters).body or {}
    assert body["parameters"]["judge"]["system_template"].endswith("{{ a }}")
    assert body["parameters"]["model_to_evaluate"]["input_template"] == "{{ q }}"


def test_the_summary_shouts_when_an_endpoint_may_still_bill() -> None:
    assert any("NOT CONFIRMED" in line for line in summary(endpoint_ended=False).lines())
    assert not any("NOT CONFIRMED" in line for line in summary().lines())


def test_the_summary_can_be_read_back(tmp_path: Path) -> None:
    path = summary().write(tmp_path / "new")
    assert json.loads(path.read_text()) == summary().to_dict()
