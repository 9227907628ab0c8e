"""Tasks that send an operation once for each row: rows in, rows out, in order, each accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from together_flows.client import AsyncTogether
from together_flows.inference import FanOut
from together_flows.inference.blocking import run_blocking
from together_flows.inference.progress import OnProgress, Progress
from together_flows.prefect.credentials import TogetherCredentials, acredentials_of, credentials_of
from together_flows.prefect.identity import owner_of_this_call
from together_flows.prefect.retries import may_help
from together_flows.prefect.view import ashow_share, ashow_table, run_logger, show_table
from together_flows.prefect.waits import POLL_INTERVAL

__all__ = ["ainfer_rows", "infer_rows"]

_TABLE = "together-inference-rows"
_PROGRESS = "together-inference-progress"


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def infer_rows(
    credentials: TogetherCredentials | str,
    operation: str,
    rows: Sequence[Mapping[str, Any] | str] | str,
    output_path: str,
    *,
    files_path: str | None = None,
    model: str | None = None,
    system: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    concurrency: int = 32,
    max_rows: int | None = None,
    budget: float | None = None,
    max_failed_share: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    wait_timeout: float | None = None,
    fresh: bool = False,
) -> dict[str, Any]:
    """Send an operation once for each row, many at a time, and write one line for each, in the order of the rows.

    Answers come within seconds, at the full price; `batch` does the same within hours for half of it. The requests in
    flight adapt to the limits that the API states. What has come of the rows is kept beside the output, in
    `.<name>.part`, until all is well: a retry, of the task or of the flow run, goes on where the attempt before
    stopped, and pays no answered row again. Rows whose answers were under way when a process died are sent again; of
    videos, which are jobs, not even those.

    Args:
        credentials: name of the credentials block, or the block.
        operation: `chat.create`, `completions.create`, `embeddings.create`, `rerank.create`, `images.generate`,
            `audio.create_speech`, `audio.create_transcription`, `audio.create_translation` or `videos.create`.
        rows: texts, or mappings of the operation's arguments; or the path or fsspec URL of a `.jsonl` or `.csv` file of
            these. Give a file for more than a few thousand.
        output_path: where the results go, a local path or an fsspec URL. Each line has `custom_id`, `index`, `status`,
            `response`, `error` and `status_code`, and `paths` of the files that the row made.
        files_path: the folder for pictures, sound and videos; beside the output unless given.
        model: the model for rows that name none.
        system: the system message for chats that begin with none.
        defaults: further arguments of the operation, such as `{"max_tokens": 200}`, for rows that do not give them.
        concurrency: most requests in flight; of videos, most that are made at once.
        max_rows: refuse sources of more rows before anything is sent.
        budget: US dollars that the rows may cost at list price, where the API lists one; answers count at `max_tokens`
            beforehand. Nothing more is sent once that much is spent.
        max_failed_share: share of the rows that may fail, 0 to 1; all but one unless given.
        poll_interval: seconds between two looks at a video, in the long run.
        wait_timeout: seconds that one video may take, counted from its submission.
        fresh: send all rows again that another flow run has left answered beside an incomplete output. By default only
            rows that have no answer yet are sent.

    Returns:
        `operation`, `output_path`, `files_path` where there are files, `rows`, `succeeded`, `failed`, `prompt_tokens`,
        `completion_tokens`, `cost_usd`, `resumed`, `retries`, `rate_limited` and `seconds`.

    Raises:
        ArgumentInvalid: an argument does not fit, or there are no rows, or too many.
        BudgetExceeded: the rows would cost more than the budget, or have.
        JobFailed: too many rows have failed. The results are written all the same.
    """
    fan_out = FanOut(
        operation=operation,
        model=model,
        system=system,
        defaults=defaults or {},
        concurrency=concurrency,
        max_rows=max_rows,
        budget=budget,
        max_failed_share=max_failed_share,
        poll_interval=poll_interval,
        wait_timeout=wait_timeout,
    )
    account = credentials_of(credentials)
    key, log = _intention(), run_logger()

    async def send() -> dict[str, Any]:
        async with _client(account, concurrency) as client:
            return await fan_out.run(
                client,
                _as_given(rows),
                output_path,
                files_path=files_path,
                key=key,
                fresh=fresh,
                log=log,
                on_progress=await _shown(fan_out, output_path),
            )

    made = run_blocking(send)
    show_table(_TABLE, [made])
    return made


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def ainfer_rows(
    credentials: TogetherCredentials | str,
    operation: str,
    rows: Sequence[Mapping[str, Any] | str] | str,
    output_path: str,
    *,
    files_path: str | None = None,
    model: str | None = None,
    system: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    concurrency: int = 32,
    max_rows: int | None = None,
    budget: float | None = None,
    max_failed_share: float | None = None,
    poll_interval: float = POLL_INTERVAL,
    wait_timeout: float | None = None,
    fresh: bool = False,
) -> dict[str, Any]:
    """The same as `infer_rows`, on the event loop."""
    fan_out = FanOut(
        operation=operation,
        model=model,
        system=system,
        defaults=defaults or {},
        concurrency=concurrency,
        max_rows=max_rows,
        budget=budget,
        max_failed_share=max_failed_share,
        poll_interval=poll_interval,
        wait_timeout=wait_timeout,
    )
    async with _client(await acredentials_of(credentials), concurrency) as client:
        made = await fan_out.run(
            client,
            _as_given(rows),
            output_path,
            files_path=files_path,
            key=_intention(),
            fresh=fresh,
            log=run_logger(),
            on_progress=await _shown(fan_out, output_path),
        )
    await ashow_table(_TABLE, [made])
    return made


async def _shown(fan_out: FanOut, output_path: str) -> OnProgress:
    """Show the share of the rows that are done as an artifact."""
    show = await ashow_share(_PROGRESS, f"{fan_out.operation} → {output_path}")

    async def on_progress(progress: Progress) -> None:
        if progress.share is not None:
            await show(progress.share)

    return on_progress


def _client(account: TogetherCredentials, concurrency: int) -> AsyncTogether:
    """A client with as many connections as there are requests in flight; the shared one has fewer."""
    return AsyncTogether(api_key=account.api_key, base_url=account.base_url, max_connections=max(concurrency, 1))


def _as_given(rows: Sequence[Mapping[str, Any] | str] | str) -> list[Any] | str:
    return rows if isinstance(rows, str) else list(rows)


def _intention() -> str:
    """Names what is wanted: the same in every attempt of a flow run."""
    owner = owner_of_this_call()
    return str(owner.flow_run_id or owner.task_run)
