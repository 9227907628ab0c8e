"""The link from a task to its job's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

__all__ = ["TogetherJobLink"]


class TogetherJobLink(BaseOperatorLink):
    """
    Opens the job's page on Together's site, or in the emulator.

    Airflow asks for the link in the process that ran the task, also when the task has just been deferred, and keeps
    the answer as an XCom. So the operator's word is enough, and no request is made.
    """

    name = "Together AI job"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The page of the job that the operator submitted; empty while it has submitted none."""
        return str(getattr(operator, "job_page", ""))
