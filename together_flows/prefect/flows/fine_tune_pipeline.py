"""Train a model, and deploy it only if it got better: the whole way from three files to served answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE

from together_flows.errors import GateNotPassed
from together_flows.prefect.hooks import together_flow
from together_flows.prefect.tasks import (
    abatch,
    acall,
    adownload_model,
    aendpoint,
    aevaluate,
    afine_tune,
    aupload_file,
)
from together_flows.prefect.waits import POLL_INTERVAL

__all__ = ["fine_tune_pipeline", "gate", "summary"]

_JUDGE = (
    "You grade answers. Compare the answer with the reference and give a score from 0, entirely wrong, to 10, as good "
    "as the reference. Reference: {{{{ {reference} }}}}"
)


@together_flow(name="together-fine-tune-pipeline")
async def fine_tune_pipeline(
    credentials: str = "together",
    *,
    training_path: str,
    heldout_path: str,
    prompts_path: str,
    output_folder: str,
    validation_path: str | None = None,
    model: str = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference",
    judge_model: str = "meta-llama/Llama-3.3-70B-Instruct-Turbo",
    n_epochs: int = 1,
    budget: float | None = None,
    margin: float = 0.0,
    hardware: str = "1x_nvidia_h100_80gb_sxm",
    prompt_column: str = "prompt",
    reference_column: str = "reference",
    max_tokens: int = 256,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
) -> dict[str, Any]:
    """Upload, fine-tune, evaluate before and after, and serve the tuned model to the prompts if it has gained enough.

    Nothing is deployed when the gate is not passed, and the endpoint is ended however the run ends.

    Args:
        credentials: name of the credentials block.
        training_path: file to train on, `.jsonl`.
        heldout_path: file to judge by, `.jsonl` or `.csv`, with the two columns below.
        prompts_path: file with the prompts to run through the tuned model.
        output_folder: local folder for the results, the model and the summary.
        validation_path: file to measure the loss on while training.
        model: base model.
        judge_model: model that scores the answers, from 0 to 10.
        n_epochs: passes over the training file.
        budget: US dollars that the training may cost; no limit of ours when left out.
        margin: points of the mean score by which the tuned model must be better than the base model.
        hardware: what the endpoint runs on.
        prompt_column: column of the held-out file that is asked.
        reference_column: column of the held-out file with the right answer.
        max_tokens: most tokens of an answer.
        wait_timeout: seconds that any single job may take.
        poll_interval: seconds between two looks, in the long run.

    Returns:
        The summary, which is also in `summary.json` in the output folder.

    Raises:
        BudgetExceeded: the training would cost too much; nothing was submitted.
        GateNotPassed: the tuned model is not better by the margin; nothing was deployed.
    """
    waits: dict[str, Any] = {"wait_timeout": wait_timeout, "poll_interval": poll_interval}
    folder = Path(output_folder)

    async def upload(name: str, path: str, purpose: Any) -> str:
        file = await _named(aupload_file, f"upload_{name}")(credentials, path, purpose=purpose, **waits)
        return str(file["file_id"])

    async def score(name: str, asked: str) -> float:
        evaluation = await _named(aevaluate, f"evaluate_{name}")(
            credentials,
            type="score",
            parameters=_judging(asked, judge_model, heldout, prompt_column, reference_column, max_tokens),
            result_path=str(folder / f"evaluation_{name}.jsonl"),
            **waits,
        )
        return float(evaluation["results"]["aggregated_scores"]["mean_score"])

    uploads = [upload("training", training_path, "fine-tune"), upload("heldout", heldout_path, "eval")]
    if validation_path:
        uploads.append(upload("validation", validation_path, "fine-tune"))
    training, heldout, *validation = await asyncio.gather(*uploads)
    tuned = await _named(afine_tune, "fine_tune")(
        credentials,
        budget=budget,
        training_file=training,
        validation_file=validation[0] if validation else None,
        n_evals=1 if validation else None,
        model=model,
        n_epochs=n_epochs,
        **waits,
    )
    base_score, tuned_score = await asyncio.gather(score("base", model), score("tuned", tuned["model"]))
    await _named(gate, "gate")(base_score, tuned_score, margin)
    async with aendpoint(credentials, model=tuned["model"], hardware=hardware, **waits) as served:
        answer = await _named(smoke_request, "smoke_request")(credentials, served["name"], max_tokens)
        results = await _named(abatch, "batch")(
            credentials,
            prompts_path,
            str(folder / "results.jsonl"),
            model=tuned["model"],
            defaults={"max_tokens": max_tokens},
            **waits,
        )
    archive = await _named(adownload_model, "download_model")(credentials, tuned["id"], f"{folder / 'model'}/")
    facts: dict[str, Any] = await _named(summary, "summary")(
        {
            "model": tuned["model"],
            "base_model": model,
            "fine_tune": tuned["id"],
            "price_usd": tuned["price_usd"],
            "base_score": base_score,
            "tuned_score": tuned_score,
            "endpoint": served["id"],
            "smoke_answer": answer,
            "batch": results,
            "archive": archive,
        },
        output_folder,
    )
    return facts


def _named(step: Any, name: str) -> Any:
    """A task whose run carries the step's name."""
    return step.with_options(task_run_name=name)


def _judging(
    asked: str, judge: str, heldout: str, prompt_column: str, reference_column: str, max_tokens: int
) -> dict[str, Any]:
    return {
        "judge": {
            "model": judge,
            "model_source": "serverless",
            "system_template": _JUDGE.format(reference=reference_column),
        },
        "min_score": 0.0,
        "max_score": 10.0,
        "pass_threshold": 5.0,
        "input_data_file_path": heldout,
        "model_to_evaluate": {
            "model": asked,
            "model_source": "serverless",
            "system_template": "Answer the question.",
            "input_template": f"{{{{ {prompt_column} }}}}",
            "max_tokens": max_tokens,
            "temperature": 0.0,
        },
    }


@task(cache_policy=NO_CACHE)
async def gate(base_score: float, tuned_score: float, margin: float) -> float:
    """Go on only if the tuned model is better by the margin. Returns the gain.

    Raises:
        GateNotPassed: it is not.
    """
    gain = tuned_score - base_score
    if gain < margin or gain <= 0:
        raise GateNotPassed(
            f"The tuned model scores {tuned_score:.2f} and the base model {base_score:.2f}: a gain of {gain:+.2f}, "
            f"where {margin:.2f} is asked for. Nothing was deployed.",
            mend="Train longer or on more rows, or lower the margin.",
        )
    return gain


@task(cache_policy=NO_CACHE)
async def smoke_request(credentials: str, model: str, max_tokens: int) -> str:
    """Ask the endpoint one question, so that a deployment that cannot answer is found out before the batch."""
    messages = [{"role": "user", "content": "Say hello."}]
    arguments = {"model": model, "messages": messages, "max_tokens": max_tokens}
    answer = await acall(credentials, "chat.create", arguments)
    return str(answer["choices"][0]["message"]["content"])


@task(cache_policy=NO_CACHE)
async def summary(facts: dict[str, Any], output_folder: str) -> dict[str, Any]:
    """Write the summary as JSON and show it with the run."""
    path = Path(output_folder) / "summary.json"
    await asyncio.to_thread(_write, path, json.dumps(facts, indent=2))
    lines = [f"- **{name}**: {value}" for name, value in facts.items()]
    await acreate_markdown_artifact(markdown="\n".join(["# Summary", "", *lines]), key="together-summary")
    return facts


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
