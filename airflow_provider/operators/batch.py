"""The operator that answers any number of prompts: rows in, rows out, in order, each accounted for."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider.attempt import Ending, JobAttempt
from airflow_provider.operators.base import TogetherJobOperator, given, number
from airflow_provider.storage import deliver, fetch, is_url
from together_flows.errors import ArgumentInvalid, JobFailed, TogetherError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.datasets import BatchInput, MergeSummary
    from together_flows.jobs import PriceEstimate
    from together_flows.jobs.model import Row, Spec
    from together_flows.jobs.steps import Steps

__all__ = ["TogetherBatchOperator"]

_MERGED = "merged.jsonl"


class TogetherBatchOperator(TogetherJobOperator):
    """
    Run prompts through a model as batches, and write one line for each, in the order of the input.

    The rows are split into as many batches as the API's limits ask for, all watched at once. Rows that failed or got
    lost are sent again on their own. A row that still has no answer appears in the output with its error.

    .. code-block:: python

        TogetherBatchOperator(
            task_id="answer",
            rows="s3://aws_default@bucket/prompts.jsonl",
            model="…",
            output_path="s3://aws_default@bucket/answers.jsonl",
        )

    Returns ``output_path``, ``rows``, ``succeeded``, ``failed``, ``missing``, ``prompt_tokens``,
    ``completion_tokens``, ``batches`` (their references), ``reference`` and ``url``; each is an XCom of its own too.
    Each line of the output has ``custom_id``, ``index``, ``status``, ``response``, ``error``, ``status_code``, and
    ``columns`` with what the row held besides.

    :param rows: a list of rows, or where a ``.jsonl`` or ``.csv`` file of rows lies: a path as the worker sees it, or a
        URL that ``ObjectStoragePath`` understands. A row is a prompt, ``{"prompt": …}``, a body with ``messages``, or a
        whole request. (templated)
    :param input_file_id: a file of whole requests that is on the server already, instead. If the answer to its
        submission is lost, the task fails: only a file of the batch's own can tell which batch is this one. (templated)
    :param output_path: where the output goes: a path as the worker sees it, or a URL. (templated)
    :param model: model for rows that name none. (templated)
    :param system: system message for rows that begin with none. (templated)
    :param endpoint: what the batch calls.
    :param max_tokens: tokens to answer with at most, for rows that do not say. (templated)
    :param defaults: further members of the body, such as ``{"temperature": 0}``, for rows that do not set them.
        (templated)
    :param max_rows: most rows in one batch. The API takes 50,000.
    :param completion_window: ``24h``; the API takes nothing else.
    :param row_retries: how many times rows without an answer are sent again.
    :param max_failed_rows: most rows that may end without an answer. The output is written even if there are more,
        and then the task fails. By default only a batch in which every row failed fails the task. (templated)
    :param max_failed_share: the same as a share of all rows, 0 to 1. (templated)
    :param directory: working folder for the shards. It may be lost: what it holds is made again from the rows.

    It also takes what :class:`~airflow_provider.operators.base.TogetherJobOperator` takes. For ``budget`` the answers
    are counted at ``max_tokens``, and not at all where that is missing.
    """

    kind = "batch"
    template_fields: Sequence[str] = (
        "rows",
        "input_file_id",
        "output_path",
        "model",
        "system",
        "max_tokens",
        "defaults",
        "max_failed_rows",
        "max_failed_share",
        "directory",
        *TogetherJobOperator.template_fields,
    )
    template_fields_renderers = {"rows": "json", "defaults": "json"}  # noqa: RUF012 - Airflow declares it so

    def __init__(
        self,
        *,
        output_path: str,
        rows: Sequence[Mapping[str, Any] | str] | str | None = None,
        input_file_id: str | None = None,
        model: str | None = None,
        system: str | None = None,
        endpoint: str = "/v1/chat/completions",
        max_tokens: int | str | None = None,
        defaults: Mapping[str, Any] | None = None,
        max_rows: int = 50_000,
        completion_window: str = "24h",
        row_retries: int = 1,
        max_failed_rows: int | str | None = None,
        max_failed_share: float | str | None = None,
        directory: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rows = rows
        self.input_file_id = input_file_id
        self.output_path = output_path
        self.model = model
        self.system = system
        self.endpoint = endpoint
        self.max_tokens = max_tokens
        self.defaults = defaults
        self.max_rows = max_rows
        self.completion_window = completion_window
        self.row_retries = row_retries
        self.max_failed_rows = max_failed_rows
        self.max_failed_share = max_failed_share
        self.directory = directory
        self._summary: MergeSummary | None = None

    def job_specs(self, context: Context) -> Sequence[Spec]:
        """One batch for each shard of the rows, or the one whose file is on the server."""
        if bool(self.rows) == bool(self.input_file_id):
            raise ArgumentInvalid(
                "A batch takes either rows or input_file_id, and at least one row.", mend="Give exactly one of the two."
            )
        if self.input_file_id:
            return [{"input_file_id": self.input_file_id, **self._manner()}]
        if isinstance(self.rows, str) and is_url(self.rows):  # what it names may have changed since
            shutil.rmtree(self._folder(context), ignore_errors=True)
        return self._specs(self._input(context))

    def further_specs(self, attempt: JobAttempt, endings: Sequence[Ending]) -> Sequence[Spec]:
        """The rows without an answer, sent again on their own."""
        from together_flows.datasets import repair_input

        batch = self._input(attempt.context)
        self._summary = self._merge(attempt, batch)
        if attempt.round >= self.row_retries or not all(_may_be_repaired(ending) for ending in endings):
            return ()
        if self._summary.succeeded == self._summary.rows:
            return ()
        folder = batch.directory / f"repair-{attempt.round + 1}"
        repair = repair_input(batch, batch.directory / _MERGED, folder)
        if repair is None:
            return ()
        self.log.info("%d of %d rows have no answer and are sent again.", repair.rows, batch.rows)
        return self._specs(repair)

    def result(self, attempt: JobAttempt, endings: Sequence[Ending]) -> Any:
        """Write the output, and judge whether enough rows have an answer."""
        summary, batch = self._summary, self._input(attempt.context)
        assert summary is not None
        failures = [ending for ending in endings if isinstance(ending, TogetherError)]
        if summary.succeeded or not failures:
            deliver(batch.directory / _MERGED, self.output_path)
            self.log.info("%d of %d rows have an answer: %s", summary.succeeded, summary.rows, self.output_path)
        if failures and not all(_may_be_repaired(failure) for failure in failures):
            raise failures[0]
        self._judge(summary, failures)
        shutil.rmtree(batch.directory, ignore_errors=True)
        references = [str(reference) for reference in attempt.all_references]
        return {
            **summary.to_dict(),
            "output_path": self.output_path,
            "batches": references,
            "reference": references[0],
            "url": self.job_page,
        }

    def price(self, spec: Spec) -> Steps[PriceEstimate] | None:
        """The prompts' tokens by the models' list prices, and the answers' as far as they are bounded."""
        from together_flows.datasets import validate
        from together_flows.jobs.pricing import batch_price

        if self.budget is None or "input_path" not in spec:
            return None
        report = validate(spec["input_path"], purpose="batch-api")
        models = report.models or (self.model or "",)
        answers = int((self._defaults() or {}).get("max_tokens") or 0) * report.rows
        share = {model: report.approximate_tokens // len(models) for model in models}
        return batch_price(share, output_tokens_by_model=dict.fromkeys(models, answers // len(models)))

    def _judge(self, summary: MergeSummary, failures: Sequence[TogetherError]) -> None:
        unanswered = summary.rows - summary.succeeded
        allowed = [summary.rows - 1]
        if (rows := number(self.max_failed_rows, "max_failed_rows")) is not None:
            allowed.append(int(rows))
        if (share := number(self.max_failed_share, "max_failed_share")) is not None:
            allowed.append(int(share * summary.rows))
        if unanswered <= min(allowed):
            if unanswered:
                self.log.warning("%d of %d rows have no answer.", unanswered, summary.rows)
            return
        if failures and not summary.succeeded:
            raise failures[0]
        raise JobFailed(
            f"{unanswered} of {summary.rows} rows have no answer, and at most {min(allowed)} may have none.",
            mend=f"Their errors are in {self.output_path}.",
        )

    def _merge(self, attempt: JobAttempt, batch: BatchInput) -> MergeSummary:
        """Download what the batches of all rounds have made so far, and bring it into the order of the rows."""
        from together_flows.api import batches
        from together_flows.datasets import merge_results

        found = [self.hook.client.send(batches.retrieve(job.id).untyped()) for job in attempt.all_references]
        outputs = self._downloads(batch.directory, found, "output_file_id")
        errors = self._downloads(batch.directory, found, "error_file_id")
        return merge_results(batch, outputs, errors, batch.directory / _MERGED)

    def _downloads(self, folder: Path, found: Iterable[Row], field: str) -> list[Path]:
        from together_flows.api import files

        paths = []
        for row in found:
            if not (file_id := row.get(field)):
                continue
            path = folder / f"{field}-{hashlib.sha256(file_id.encode()).hexdigest()[:16]}.jsonl"
            if not path.exists():
                self.hook.client.download(files.content(file_id), path)
            paths.append(path)
        return paths

    def _input(self, context: Context) -> BatchInput:
        """The shards: those that are there already, or made again, byte for byte, from the rows."""
        from together_flows.datasets import BatchInput

        folder = self._folder(context)
        try:
            return BatchInput.load(folder)
        except ArgumentInvalid:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        wishes: dict[str, Any] = {
            "model": self.model or None,
            "system": self.system or None,
            "endpoint": self.endpoint,
            "defaults": self._defaults(),
            "max_rows": self.max_rows,
        }
        if self.input_file_id:
            return BatchInput.from_file(self._requests_on_server(), folder, **wishes)
        if isinstance(self.rows, str):
            return BatchInput.from_file(fetch(self.rows, self.scratch), folder, **wishes)
        return BatchInput.from_rows(self.rows or (), folder, **wishes)

    def _requests_on_server(self) -> Path:
        from together_flows.api import files

        path = self.scratch / "requests.jsonl"
        return self.hook.client.download(files.content(self.input_file_id or ""), path)

    def _folder(self, context: Context) -> Path:
        """The working folder. Other rows have another one, so that what lies there always fits."""
        task: Any = context["ti"]
        place = [task.dag_id, task.run_id, task.task_id, task.map_index]
        wishes = [self.input_file_id, self.model, self.system, self.endpoint, self._defaults(), self.max_rows]
        text = json.dumps([place, wishes, self._identity()], sort_keys=True, default=str)
        shared = Path(tempfile.gettempdir()) / f"together-batches-{os.getuid()}"
        root = Path(self.directory) if self.directory else shared
        return root / hashlib.sha256(text.encode()).hexdigest()[:32]

    def _identity(self) -> Any:
        """What tells these rows from others, without reading a file."""
        if not isinstance(self.rows, str) or is_url(self.rows):
            return self.rows
        found = Path(self.rows).stat() if Path(self.rows).exists() else None
        return [self.rows, found and [found.st_size, found.st_mtime_ns]]

    def _specs(self, batch: BatchInput) -> list[Spec]:
        return [
            {"input_path": str(shard.path), "input_sha256": shard.sha256, **self._manner()} for shard in batch.shards
        ]

    def _defaults(self) -> dict[str, Any] | None:
        most = number(self.max_tokens, "max_tokens")
        return {**(self.defaults or {}), **({} if most is None else {"max_tokens": int(most)})} or None

    def _manner(self) -> dict[str, Any]:
        return given(self, ("endpoint", "completion_window"))


def _may_be_repaired(ending: Ending) -> bool:
    """Whether rows without an answer are worth sending again: the batch ended by itself, and was not refused whole."""
    return isinstance(ending, dict) or (isinstance(ending, JobFailed) and ending.status.get("status") == "EXPIRED")
