"""The operator that sends an operation once for each row: rows in, rows out, in order, each accounted for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseAsyncOperator

from airflow_provider.failures import raise_for_airflow
from airflow_provider.hooks.together import TogetherHook
from airflow_provider.operators.base import number
from airflow_provider.storage import located
from together_flows.errors import ArgumentInvalid, TogetherError
from together_flows.policies import OnClear

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.inference import FanOut

__all__ = ["TogetherInferenceOperator"]


class TogetherInferenceOperator(BaseAsyncOperator):
    """
    Send an operation once for each row, many at a time, and write one line for each, in the order of the input.

    Answers come within seconds, at the full price. For rows that can wait for hours,
    :class:`~airflow_provider.operators.batch.TogetherBatchOperator` does the same for half of it.

    .. code-block:: python

        TogetherInferenceOperator(
            task_id="embed",
            operation="embeddings.create",
            rows="s3://aws_default@bucket/texts.jsonl",
            model="…",
            output_path="s3://aws_default@bucket/vectors.jsonl",
        )

    The requests in flight adapt to the limits that the API states in its answers. What has come of the rows is kept
    beside the output, in ``.<name>.part``, until all is well: a retry goes on where the attempt before stopped. No row
    that has an answer is paid again. A clear of a task that had failed, or was still running, goes on too; a clear of
    one that had succeeded sends all rows again. ``on_clear`` forces either. Rows whose answers were under way when
    a process died are sent again; of videos, which are jobs, not even those.

    Returns ``output_path``, ``files_path`` where there are files, ``rows``, ``succeeded``, ``failed``,
    ``prompt_tokens``, ``completion_tokens``, ``cost_usd``, ``resumed``, ``retries``, ``rate_limited`` and ``seconds``;
    each is an XCom of its own too. Each line of the output has ``custom_id``, ``index``, ``status``, ``response``,
    ``error``, ``status_code``, ``paths`` of the files that the row made, and ``columns`` with what it
    held besides.

    :param operation: ``chat.create``, ``completions.create``, ``embeddings.create``, ``rerank.create``,
        ``images.generate``, ``audio.create_speech``, ``audio.create_transcription``, ``audio.create_translation`` or
        ``videos.create``. (templated)
    :param rows: a list of rows, or where a ``.jsonl`` or ``.csv`` file of rows lies: a path as the worker sees it, or a
        URL that ``ObjectStoragePath`` understands. A row is a text, or a mapping of the operation's arguments.
        (templated)
    :param output_path: where the output goes: a path as the worker sees it, or a URL. (templated)
    :param files_path: the folder for pictures, sound and videos; beside the output unless given. (templated)
    :param model: model for rows that name none. (templated)
    :param system: system message for chats that begin with none. (templated)
    :param defaults: further arguments of the operation, such as ``{"max_tokens": 200}``, for rows that do not give
        them. (templated)
    :param concurrency: most requests in flight; of videos, most that are made at once. (templated)
    :param max_rows: refuse sources of more rows before anything is sent. (templated)
    :param budget: US dollars that the rows may cost at list price, where the API lists one; answers count at
        ``max_tokens`` beforehand. Nothing more is sent once that much is spent. (templated)
    :param max_failed_share: share of the rows that may fail, 0 to 1. The output is written even if there are more, and
        then the task fails. By default only a run in which every row failed fails the task. (templated)
    :param poll_interval: seconds between two looks at a video, in the long run. (templated)
    :param wait_timeout: seconds that one video may take, counted from its submission. (templated)
    :param on_clear: what a clear of the task means for its rows: ``"auto"`` as described above, ``"reattach"`` to keep
        a complete output, and send only rows that have no answer, ``"rerun"`` to send all of them again.
    :param together_conn_id: id of the Airflow connection. (templated)
    """

    template_fields: Sequence[str] = (
        "operation",
        "rows",
        "output_path",
        "files_path",
        "model",
        "system",
        "defaults",
        "concurrency",
        "max_rows",
        "budget",
        "max_failed_share",
        "poll_interval",
        "wait_timeout",
        "together_conn_id",
    )
    template_fields_renderers = {"rows": "json", "defaults": "json"}  # noqa: RUF012 - Airflow declares it so
    ui_color = "#e8ebf9"

    def __init__(
        self,
        *,
        operation: str,
        rows: Sequence[Mapping[str, Any] | str] | str,
        output_path: str,
        files_path: str | None = None,
        model: str | None = None,
        system: str | None = None,
        defaults: Mapping[str, Any] | None = None,
        concurrency: int | str = 32,
        max_rows: int | str | None = None,
        budget: float | str | None = None,
        max_failed_share: float | str | None = None,
        poll_interval: float | str = 15.0,
        wait_timeout: float | str | None = None,
        on_clear: OnClear = "auto",
        together_conn_id: str = TogetherHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self.operation = operation
        self.rows = rows
        self.output_path = output_path
        self.files_path = files_path
        self.model = model
        self.system = system
        self.defaults = defaults
        self.concurrency = concurrency
        self.max_rows = max_rows
        self.budget = budget
        self.max_failed_share = max_failed_share
        self.poll_interval = poll_interval
        self.wait_timeout = wait_timeout
        self.on_clear = on_clear
        self.together_conn_id = together_conn_id
        self._sending: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._killed = False

    @cached_property
    def hook(self) -> TogetherHook:
        """The hook of the operator's connection."""
        return TogetherHook(self.together_conn_id)

    async def aexecute(self, context: Context) -> dict[str, Any]:
        """Send the rows that no attempt before has settled, and write the output."""
        try:
            return await self._interruptible(self._run(context))
        except TogetherError as error:
            raise_for_airflow(error)

    def on_kill(self) -> None:
        """Stop sending. What has come of the rows is kept, so that the next attempt goes on from there."""
        self._killed = True
        if self._sending is not None:
            loop, task = self._sending
            loop.call_soon_threadsafe(task.cancel)

    async def _interruptible(self, work: Any) -> dict[str, Any]:
        """Await work that ``on_kill`` may cut short."""
        task: asyncio.Task[dict[str, Any]] = asyncio.ensure_future(work)
        self._sending = (asyncio.get_running_loop(), task)
        if self._killed:  # before there was anything to stop
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            if not self._killed:
                raise
            raise TogetherError(
                "The process was told to stop. The rows that have an answer are kept for the next attempt.",
                retryable=True,
            ) from None

    async def _run(self, context: Context) -> dict[str, Any]:
        fan_out = self._fan_out()
        client = await self.hook.anew_client(max_connections=fan_out.concurrency)
        async with client:
            return await fan_out.run(
                client,
                located(self.rows) if isinstance(self.rows, str) else list(self.rows),
                located(self.output_path),
                files_path=located(self.files_path) if self.files_path else None,
                key=_intention(context, self.on_clear),
                fresh=self.on_clear == "rerun",
                log=self._say,
            )

    def _fan_out(self) -> FanOut:
        from together_flows.inference import FanOut

        return FanOut(
            operation=self.operation,
            model=self.model or None,
            system=self.system or None,
            defaults=self.defaults or {},
            concurrency=_whole(self.concurrency, "concurrency") or 1,
            max_rows=_whole(self.max_rows, "max_rows"),
            budget=number(self.budget, "budget"),
            max_failed_share=number(self.max_failed_share, "max_failed_share"),
            poll_interval=number(self.poll_interval, "poll_interval") or 15.0,
            wait_timeout=number(self.wait_timeout, "wait_timeout"),
        )

    def _say(self, message: str, level: str) -> None:
        getattr(self.log, level)(message)


def _whole(value: float | str | None, name: str) -> int | None:
    found = number(value, name)
    if found is None:
        return None
    if found != int(found) or found < 1:
        raise ArgumentInvalid(f"{name} must be a whole number from 1, not {value!r}.")
    return int(found)


def _intention(context: Context, on_clear: str) -> str:
    """Names what the task wants: the same in every retry, and another one after a clear that counts."""
    task: Any = context["ti"]
    own = f"{task.dag_id}/{task.run_id}/{task.task_id}/{task.map_index}"
    if on_clear == "reattach":
        return own
    clears = (getattr(task, "max_tries", None) or 0) - (context["task"].retries or 0)
    return f"{own}/{clears}"
