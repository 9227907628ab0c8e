"""Tasks for fine-tuning: priced, submitted once, waited for; and the download of what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict, Unpack

import anyio
from prefect import task
from prefect.cache_policies import NO_CACHE

from together_flows.api import finetune
from together_flows.client import async_client_for, client_for
from together_flows.errors import ArgumentInvalid
from together_flows.jobs import fine_tune_price
from together_flows.jobs.archive import named_by_content
from together_flows.prefect.credentials import TogetherCredentials, acredentials_of, credentials_of
from together_flows.prefect.lineage import amaterialized, file_asset, materialized, model_asset
from together_flows.prefect.retries import may_help
from together_flows.prefect.submitting import Job, Money, asubmit, given, submit
from together_flows.prefect.tasks.waiting import await_for_job, wait_for_job
from together_flows.prefect.waits import POLL_INTERVAL

__all__ = [
    "FineTuneArguments",
    "adownload_model",
    "afine_tune",
    "asubmit_fine_tune",
    "download_model",
    "fine_tune",
    "fine_tune_money",
    "fine_tune_spec",
    "submit_fine_tune",
]


class FineTuneArguments(TypedDict, total=False):
    """The arguments of `together_flows.api.fine_tunes.create`, which describes each of them.

    Keys of other services are not among them: they come from the credentials block.
    """

    training_file: str
    model: str | None
    validation_file: str | None
    packing: bool | None
    n_epochs: int | None
    n_checkpoints: int | None
    n_evals: int | None
    batch_size: int | Literal["max"] | None
    learning_rate: float | None
    lr_scheduler: Mapping[str, Any] | None
    warmup_ratio: float | None
    max_grad_norm: float | None
    weight_decay: float | None
    random_seed: int | None
    suffix: str | None
    wandb_base_url: str | None
    wandb_project_name: str | None
    wandb_name: str | None
    wandb_entity: str | None
    train_on_inputs: bool | Literal["auto"] | None
    training_method: Mapping[str, Any] | None
    training_type: Mapping[str, Any] | None
    multimodal_params: Mapping[str, Any] | None
    from_checkpoint: str | None
    from_hf_model: str | None
    hf_model_revision: str | None
    hf_output_repo_name: str | None


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def submit_fine_tune(
    credentials: TogetherCredentials | str,
    *,
    budget: float | None = None,
    **arguments: Unpack[FineTuneArguments],
) -> Job:
    """Start a fine-tuning job, once, however often this task or its flow run is tried.

    Args:
        credentials: name of the credentials block, or the block.
        budget: US dollars. A job that is estimated to cost more is not submitted.
        arguments: those of `together_flows.api.fine_tunes.create`.

    Raises:
        BudgetExceeded: it would cost more than the budget, or more than the account may spend.
        SubmissionUnknown: the answer was lost, and the job cannot be told from others.
    """
    return submit("fine_tune", fine_tune_spec(arguments), credentials, money=fine_tune_money(budget))


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def asubmit_fine_tune(
    credentials: TogetherCredentials | str,
    *,
    budget: float | None = None,
    **arguments: Unpack[FineTuneArguments],
) -> Job:
    """The same as `submit_fine_tune`, on the event loop."""
    return await asubmit("fine_tune", fine_tune_spec(arguments), credentials, money=fine_tune_money(budget))


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def fine_tune(
    credentials: TogetherCredentials | str,
    *,
    budget: float | None = None,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[FineTuneArguments],
) -> dict[str, Any]:
    """Fine-tune a model: start the job, wait for it, and return the model's name.

    It runs `submit_fine_tune` and `wait_for_job`. A retry adopts the job that lives, and submits a new one only when
    the job has failed.

    Args:
        credentials: name of the credentials block, or the block.
        budget: US dollars. A job that is estimated to cost more is not submitted.
        wait_timeout: seconds, counted from the submission, after which the job is cancelled.
        poll_interval: seconds between two looks, in the long run.
        arguments: those of `together_flows.api.fine_tunes.create`.

    Returns:
        `model`, the tuned model's name, and `id`, `base_model`, `training_file`, `epochs`, `tokens`, `price_usd`,
        `reference` and `url`.

    Raises:
        BudgetExceeded: nothing was submitted.
        JobFailed: the job failed; the message is its own.
        WaitTimeout: it was not done in time, and was cancelled.
    """
    job = submit_fine_tune(credentials, budget=budget, **arguments)
    tuned = wait_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
    materialized(model_asset(tuned["model"], page=tuned["url"]), upstream=_sources(arguments), facts=_facts(tuned))
    return tuned


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def afine_tune(
    credentials: TogetherCredentials | str,
    *,
    budget: float | None = None,
    wait_timeout: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    **arguments: Unpack[FineTuneArguments],
) -> dict[str, Any]:
    """The same as `fine_tune`, on the event loop."""
    job = await asubmit_fine_tune(credentials, budget=budget, **arguments)
    tuned = await await_for_job(credentials, job, wait_timeout=wait_timeout, poll_interval=poll_interval)
    asset = model_asset(tuned["model"], page=tuned["url"])
    await amaterialized(asset, upstream=_sources(arguments), facts=_facts(tuned))
    return tuned


Checkpoint = Literal["merged", "adapter", "model_output_path"]


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def download_model(
    credentials: TogetherCredentials | str,
    ft_id: str,
    target: str,
    *,
    checkpoint: Checkpoint | str | None = "merged",
    checkpoint_step: int | None = None,
) -> str:
    """Download what a fine-tuning job made, as an archive, in constant memory.

    Args:
        credentials: name of the credentials block, or the block.
        ft_id: `ft-…`.
        target: a local file, or a folder written with a slash at its end; the archive is then named after the job.
        checkpoint: `merged` or `adapter` for LoRA jobs, `model_output_path` for full training.
        checkpoint_step: step of an earlier checkpoint, instead of `checkpoint`.

    Returns:
        Where it is.
    """
    account = credentials_of(credentials)
    client = client_for(api_key=account.api_key, base_url=account.base_url)
    archive = client.download(_model(ft_id, checkpoint, checkpoint_step), target, file_name=ft_id)
    return str(named_by_content(archive) if target.endswith("/") else archive)


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def adownload_model(
    credentials: TogetherCredentials | str,
    ft_id: str,
    target: str,
    *,
    checkpoint: Checkpoint | str | None = "merged",
    checkpoint_step: int | None = None,
) -> str:
    """The same as `download_model`, on the event loop."""
    account = await acredentials_of(credentials)
    client = async_client_for(api_key=account.api_key, base_url=account.base_url)
    archive = await client.download(_model(ft_id, checkpoint, checkpoint_step), target, file_name=ft_id)
    return str(await anyio.to_thread.run_sync(named_by_content, archive) if target.endswith("/") else archive)


def _model(ft_id: str, checkpoint: str | None, step: int | None) -> Any:
    return finetune.download(ft_id=ft_id, checkpoint=None if step is not None else checkpoint, checkpoint_step=step)


def fine_tune_spec(arguments: FineTuneArguments) -> dict[str, Any]:
    spec = given(arguments)
    if secrets := {"wandb_api_key", "hf_api_token"} & spec.keys():
        raise ArgumentInvalid(
            f"{', '.join(sorted(secrets))} must not be a parameter of a task, because parameters are shown.",
            mend="Put it into the TogetherCredentials block, as wandb_api_key or hf_token.",
        )
    return spec


def fine_tune_money(budget: float | None) -> Money | None:
    return None if budget is None else Money(budget, fine_tune_price)


def _sources(arguments: FineTuneArguments) -> list[Any]:
    ids = [arguments.get("training_file"), arguments.get("validation_file")]
    base = arguments.get("model")
    return [*(file_asset(str(id_)) for id_ in ids if id_), *([model_asset(base)] if base else [])]


def _facts(tuned: dict[str, Any]) -> dict[str, Any]:
    return {name: tuned.get(name) for name in ("id", "base_model", "epochs", "tokens", "price_usd")}
