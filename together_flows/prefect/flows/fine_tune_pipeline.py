"""Train a model, and deploy it only if it got better: the whole way from three files to served answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE

from together_flows.jobs.pipeline import PipelineSummary, check_gain, mean_score, score_parameters
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


@together_flow(name="together-fine-tune-pipeline")
async def fine_tune_pipeline(
    credentials: str = "together",
    *,
    training_path: str,
    heldout_path: str,
    prompts_path: str,
    output_folder: str,
    validation_path: str | None = None,
    model: str = "Qwen/Qwen3-8B",
    judge_model: str = "meta-llama/Llama-3.3-70B-Instruct-Turbo",
    n_epochs: int = 1,
    suffix: str = "tuned",
    budget: float | None = None,
    margin: float = 0.5,
    hardware: str = "1x_nvidia_h100_80gb_sxm",
    prompt_column: str = "question",
    reference_column: str = "reference",
    system: str = "Answer the question in one short paragraph.",
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
        suffix: joins the tuned model's name.
        budget: US dollars that the training may cost; no limit of ours when left out.
        margin: points of the mean score by which the tuned model must be better than the base model.
        hardware: what the endpoint runs on.
        prompt_column: column of the held-out file that is asked.
        reference_column: column of the held-out file with the right answer.
        system: what the models are told before each question.
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

    async def upload(name: str, path: str, purpose: Any) -> dict[str, Any]:
        file: dict[str, Any] = await _named(aupload_file, f"upload_{name}")(credentials, path, purpose=purpose, **waits)
        return file

    async def score(name: str, asked: str) -> float:
        evaluation = await _named(aevaluate, f"evaluate_{name}")(
            credentials,
            type="score",
            parameters=score_parameters(
                asked,
                judge_model=judge_model,
                held_out_file=heldout["file_id"],
                prompt_column=prompt_column,
                reference_column=reference_column,
                system=system,
                max_tokens=max_tokens,
            ),
            result_path=str(folder / f"evaluation_{name}.jsonl"),
            **waits,
        )
        return mean_score(evaluation)

    uploads = [upload("training", training_path, "fine-tune"), upload("heldout", heldout_path, "eval")]
    if validation_path:
        uploads.append(upload("validation", validation_path, "fine-tune"))
    training, heldout, *validation = await asyncio.gather(*uploads)
    tuned = await _named(afine_tune, "fine_tune")(
        credentials,
        budget=budget,
        training_file=training["file_id"],
        validation_file=validation[0]["file_id"] if validation else None,
        n_evals=1 if validation else None,
        model=model,
        n_epochs=n_epochs,
        suffix=suffix,
        **waits,
    )
    base_score, tuned_score = await asyncio.gather(score("base", model), score("tuned", tuned["model"]))
    await _named(gate, "gate")(base_score, tuned_score, margin)
    async with aendpoint(credentials, model=tuned["model"], hardware=hardware, **waits) as served:
        answer = await _named(smoke_request, "smoke_request")(credentials, served["name"], max_tokens)
        answered = await _named(abatch, "batch")(
            credentials,
            prompts_path,
            str(folder / "batch_results.jsonl"),
            model=served["name"],
            system=system,
            defaults={"max_tokens": max_tokens},
            **waits,
        )
    archive = await _named(adownload_model, "download_model")(credentials, tuned["id"], f"{folder / 'model'}/")
    facts = PipelineSummary(
        base_model=model,
        model=tuned["model"],
        fine_tune=tuned["id"],
        training_rows=training["rows"],
        tokens=tuned["tokens"],
        estimated_price_usd=tuned.get("estimated_price_usd"),
        price_usd=tuned["price_usd"],
        base_score=base_score,
        tuned_score=tuned_score,
        endpoint=served["id"],
        endpoint_name=served["name"],
        endpoint_ended=True,  # its context manager has confirmed it, or raised
        smoke_answer=answer,
        batch_rows=answered["rows"],
        batch_succeeded=answered["succeeded"],
        batch_failed=answered["failed"] + answered["missing"],
        results=answered["output_path"],
        archive=archive,
    )
    return await _named(summary, "summary")(facts, output_folder)  # type: ignore[no-any-return] # the task's own


def _named(step: Any, name: str) -> Any:
    """A task whose run carries the step's name."""
    return step.with_options(task_run_name=name)


@task(cache_policy=NO_CACHE)
async def gate(base_score: float, tuned_score: float, margin: float) -> float:
    """Go on only if the tuned model is better by the margin. Returns the gain.

    Raises:
        GateNotPassed: it is not.
    """
    return check_gain(base_score, tuned_score, margin)


@task(cache_policy=NO_CACHE)
async def smoke_request(credentials: str, model: str, max_tokens: int) -> str:
    """Ask the endpoint one question, so that a deployment that cannot answer is found out before the batch."""
    messages = [{"role": "user", "content": "Say hello."}]
    arguments = {"model": model, "messages": messages, "max_tokens": max_tokens}
    answer = await acall(credentials, "chat.create", arguments)
    return str(answer["choices"][0]["message"]["content"])


@task(cache_policy=NO_CACHE)
async def summary(facts: PipelineSummary, output_folder: str) -> dict[str, Any]:
    """Write the summary as JSON and show it with the run."""
    await asyncio.to_thread(facts.write, output_folder)
    lines = "\n".join(facts.lines())
    await acreate_markdown_artifact(markdown=f"# Summary\n\n```\n{lines}\n```", key="together-summary")
    return facts.to_dict()
