"""Operators that upload and download files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider.failures import raise_for_airflow
from airflow_provider.hooks.together import TogetherHook
from airflow_provider.operators.base import TogetherJobOperator, given
from airflow_provider.storage import download, fetch
from together_flows.errors import TogetherError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs.model import Spec

__all__ = ["TogetherDownloadFileOperator", "TogetherUploadFileOperator"]


class TogetherUploadFileOperator(TogetherJobOperator):
    """
    Check a dataset, upload it, and wait until Together AI has checked it too.

    Content that the account has uploaded before is not sent again: the task then returns the file that is there. The
    local check names every mistake with its line, its column and its mend, and fails the task before anything is sent.

    Returns ``file_id``, ``file_name``, ``bytes``, ``purpose``, ``rows``, ``reference`` and ``url``; each is an XCom of
    its own too.

    :param path: a path as the worker sees it, or a URL such as ``s3://conn_id@bucket/train.jsonl``. (templated)
    :param purpose: what the file is for: ``fine-tune``, ``eval`` or ``batch-api``. (templated)
    :param file_name: its name on the server; its own by default. (templated)
    :param validate: check the content locally first.

    It also takes what :class:`~airflow_provider.operators.base.TogetherJobOperator` takes.
    """

    kind = "file"
    template_fields: Sequence[str] = ("path", "purpose", "file_name", *TogetherJobOperator.template_fields)

    def __init__(
        self,
        *,
        path: str,
        purpose: str = "fine-tune",
        file_name: str | None = None,
        validate: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.purpose = purpose
        self.file_name = file_name
        self.validate = validate

    def job_specs(self, context: Context) -> Sequence[Spec]:
        """The file to upload, known by its content."""
        from together_flows.datasets import validate

        local = fetch(str(self.path), self.scratch)
        spec: dict[str, Any] = {"path": str(local), **given(self, ("purpose", "file_name"))}
        if self.validate and self.purpose in _CHECKED_PURPOSES:
            report = validate(local, purpose=self.purpose)  # type: ignore[arg-type] # it is one of the three
            report.raise_for_problems()
            self.log.info("%s is fine: %d rows, %d bytes, %s.", self.path, report.rows, report.bytes, report.format)
            spec["input_sha256"] = report.sha256
        return [spec]


_CHECKED_PURPOSES = ("fine-tune", "eval", "batch-api")


class TogetherDownloadFileOperator(BaseOperator):
    """
    Download a file, such as the results of an evaluation, in constant memory.

    Returns ``path`` and ``bytes``.

    :param file_id: the file. (templated)
    :param output_path: where it goes: a path as the worker sees it, or a URL that ``ObjectStoragePath`` understands. A
        folder ends in a slash; the server then names the file. (templated)
    :param together_conn_id: id of the Airflow connection. (templated)
    """

    template_fields: Sequence[str] = ("file_id", "output_path", "together_conn_id")
    ui_color = "#e8ebf9"

    def __init__(
        self,
        *,
        file_id: str,
        output_path: str,
        together_conn_id: str = TogetherHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self.file_id = file_id
        self.output_path = output_path
        self.together_conn_id = together_conn_id

    @cached_property
    def hook(self) -> TogetherHook:
        """The hook of the operator's connection."""
        return TogetherHook(self.together_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Download the file; a broken connection is resumed where it broke."""
        from together_flows.api import files

        try:
            return download(self.hook.client, files.content(self.file_id), self.output_path)
        except TogetherError as error:
            raise_for_airflow(error)
