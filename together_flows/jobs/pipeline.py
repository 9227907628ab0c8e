"""What the shipped pipelines share, whatever runs them: how answers are judged, the gate, and the summary."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from together_flows.errors import GateNotPassed

__all__ = ["PipelineSummary", "check_gain", "mean_score", "score_parameters"]

_JUDGE = (
    "You grade answers. Compare the answer with the reference and give a score from 0, entirely wrong, to 10, as good "
    "as the reference. Reference: {{ %s }}"
)
_SYSTEM = "Answer the question."


def score_parameters(
    model: str,
    *,
    judge_model: str,
    held_out_file: str | None = None,
    prompt_column: str = "prompt",
    reference_column: str = "reference",
    system: str = _SYSTEM,
    max_tokens: int = 256,
) -> dict[str, Any]:
    """Parameters of an evaluation of type `score` that grades a model's answers from 0 to 10 against a reference.

    Args:
        model: model that answers.
        judge_model: model that grades.
        held_out_file: id of the file with the questions; left out where the job uploads it itself.
        prompt_column: its column with the question.
        reference_column: its column with the right answer.
        system: what the answering model is told beforehand.
        max_tokens: most tokens of an answer.
    """
    parameters: dict[str, Any] = {
        "judge": {
            "model": judge_model,
            "model_source": "serverless",
            "system_template": _JUDGE % reference_column,
        },
        "min_score": 0.0,
        "max_score": 10.0,
        "pass_threshold": 5.0,
        "model_to_evaluate": {
            "model": model,
            "model_source": "serverless",
            "system_template": system,
            "input_template": "{{ %s }}" % prompt_column,  # noqa: UP031 - braces are the template's own
            "max_tokens": max_tokens,
            "temperature": 0.0,
        },
    }
    return parameters if held_out_file is None else {**parameters, "input_data_file_path": held_out_file}


def mean_score(evaluation: Mapping[str, Any]) -> float:
    """The mean score in the manifest of an evaluation of type `score`."""
    return float(evaluation["results"]["aggregated_scores"]["mean_score"])


def check_gain(base_score: float, tuned_score: float, margin: float) -> float:
    """The gate: how much better the tuned model is, in points of the mean score.

    Raises:
        GateNotPassed: it is not better, or by less than the margin.
    """
    gain = tuned_score - base_score
    if gain <= 0 or gain < margin:
        raise GateNotPassed(
            f"The tuned model scores {tuned_score:.2f} and the base model {base_score:.2f}: a gain of {gain:+.2f}, "
            f"where {margin:.2f} is asked for. Nothing was deployed.",
            mend="Train longer or on more rows, or lower the margin.",
        )
    return gain


@dataclass(frozen=True, kw_only=True)
class PipelineSummary:
    """What one run of the pipeline did.

    Attributes:
        base_model: model that was trained on top of.
        model: name of the tuned model.
        fine_tune: id of the fine-tuning job.
        training_rows: rows of the training file.
        tokens: tokens that were paid for.
        estimated_price_usd: price of the training before it began, in US dollars.
        price_usd: price of the training after it had ended, in US dollars.
        base_score: mean score of the base model on the held-out file, 0 to 10.
        tuned_score: mean score of the tuned model.
        endpoint: id of the endpoint.
        endpoint_name: the name that requests gave as their model.
        endpoint_ended: whether the endpoint was stopped and deleted, confirmed by the API.
        smoke_answer: what the endpoint answered to the first request.
        batch_rows: rows of the batch.
        batch_succeeded: rows that were answered.
        batch_failed: rows that failed or went missing; each stands in the results with its error.
        results: where the batch's results are.
        archive: where the model's archive is.
    """

    base_model: str
    model: str
    fine_tune: str
    training_rows: int | None
    tokens: int | None
    estimated_price_usd: float | None
    price_usd: float | None
    base_score: float
    tuned_score: float
    endpoint: str
    endpoint_name: str
    endpoint_ended: bool
    smoke_answer: str
    batch_rows: int
    batch_succeeded: int
    batch_failed: int
    results: str
    archive: str

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The summary for people, a fact a line."""
        ended = "stopped and deleted" if self.endpoint_ended else "NOT CONFIRMED AS STOPPED"
        return [
            f"trained    {self.model} on {_count(self.training_rows)} rows, {_count(self.tokens)} tokens",
            f"price      estimated {_dollars(self.estimated_price_usd)}, actual {_dollars(self.price_usd)}",
            f"score      base {self.base_score:.2f}, tuned {self.tuned_score:.2f}, of 10",
            f"endpoint   {self.endpoint_name} ({self.endpoint}), {ended}",
            f"batch      {self.batch_succeeded} of {self.batch_rows} rows succeeded, {self.batch_failed} failed",
            f"results    {self.results}",
            f"archive    {self.archive}",
        ]

    def write(self, folder: str | Path) -> Path:
        """Write `summary.json` into a local folder, and answer with its path."""
        path = Path(folder) / "summary.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return path


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _dollars(amount: float | None) -> str:
    return "unknown" if amount is None else f"${amount:.2f}"
