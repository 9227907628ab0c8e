"""The operator that gives work to the queue of a deployment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider.operators.base import TogetherJobOperator, given

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs.model import Spec

__all__ = ["TogetherQueueOperator"]

_ARGUMENTS = ("model", "payload", "info", "priority")


class TogetherQueueOperator(TogetherJobOperator):
    """
    Put a job into the queue of a deployment, and wait until a worker has done it.

    The API has no list of such jobs: if the answer to the submission is lost, the task fails rather than have the work
    done twice (see ``on_unknown``). A job that nobody wants any more is cancelled if no worker has begun it.

    Returns ``id``, ``model``, ``retries``, ``outputs``, ``reference`` and ``url``; each is an XCom of its own too. Of
    the worker's outputs only those are there that fit into a small XCom; if there are more, ``outputs_left_out`` is
    their number, and ``queue.status`` tells them all.

    :param model: name of the deployment that does it. (templated)
    :param payload: what the worker gets, as it is. (templated)
    :param info: notes that stay with the job. (templated)
    :param priority: higher goes first, 0 unless given. (templated)

    It also takes what :class:`~airflow_provider.operators.base.TogetherJobOperator` takes.
    """

    kind = "queue"
    template_fields: Sequence[str] = (*_ARGUMENTS, *TogetherJobOperator.template_fields)
    template_fields_renderers = {"payload": "json", "info": "json"}  # noqa: RUF012 - Airflow declares it so

    def __init__(
        self,
        *,
        model: str,
        payload: Mapping[str, Any],
        info: Mapping[str, Any] | None = None,
        priority: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.payload = payload
        self.info = info
        self.priority = priority

    def job_specs(self, context: Context) -> Sequence[Spec]:
        """The arguments that were given."""
        return [given(self, _ARGUMENTS)]
