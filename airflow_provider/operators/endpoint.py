"""Operators for dedicated endpoints: start one, and stop it whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, TriggerRule

from airflow_provider.failures import raise_for_airflow
from airflow_provider.hooks.together import TogetherHook
from airflow_provider.operators.base import TogetherJobOperator, given, number
from together_flows.errors import TogetherError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs import PriceEstimate
    from together_flows.jobs.model import Spec
    from together_flows.jobs.steps import Steps

__all__ = ["TogetherEndpointOperator", "TogetherEndpointTeardownOperator"]

_ARGUMENTS = (
    "model",
    "hardware",
    "display_name",
    "inactive_timeout",
    "disable_speculative_decoding",
    "availability_zone",
)


class TogetherEndpointOperator(TogetherJobOperator):
    """
    Start a dedicated endpoint, and wait until it serves. **Each replica bills by the minute until it is stopped.**

    Have it stopped by a teardown, which Airflow runs whether the tasks in between succeed or fail:

    .. code-block:: python

        endpoint = TogetherEndpointOperator(task_id="endpoint", model="…", hardware="…", inactive_timeout=30)
        with endpoint.teardown():
            ask_questions(endpoint.output["name"])

    Unlike other jobs an endpoint that is not ready when its task ends for good, is stopped. ``inactive_timeout`` is the
    last safety net, for when Airflow itself is lost.

    Returns ``name`` (the model's name for inference), ``id``, ``model``, ``hardware``, ``display_name``, ``state``,
    ``estimated_price_usd``, ``reference`` and ``url``; each is an XCom of its own too.

    :param model: model to serve. (templated)
    :param hardware: id of a configuration; it tells the price. (templated)
    :param min_replicas: replicas that always run. (templated)
    :param max_replicas: replicas that may run under load. (templated)
    :param inactive_timeout: minutes without a request after which the endpoint stops by itself; 0 means never.
        (templated)
    :param display_name: name for people. A marker is added, by which a lost endpoint is found again. (templated)
    :param disable_speculative_decoding: do without speculative decoding.
    :param availability_zone: zone that it must run in. (templated)
    :param hours: how long it is expected to serve, for the price and the ``budget``. (templated)

    It also takes what :class:`~airflow_provider.operators.base.TogetherJobOperator` takes.
    """

    kind = "endpoint"
    template_fields: Sequence[str] = (
        *(name for name in _ARGUMENTS if not name.startswith("disable_")),
        "min_replicas",
        "max_replicas",
        "hours",
        *TogetherJobOperator.template_fields,
    )

    def __init__(
        self,
        *,
        model: str,
        hardware: str,
        min_replicas: int | str = 1,
        max_replicas: int | str = 1,
        inactive_timeout: int | str | None = None,
        display_name: str | None = None,
        disable_speculative_decoding: bool | None = None,
        availability_zone: str | None = None,
        hours: float | str = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.hardware = hardware
        self.min_replicas = min_replicas
        self.max_replicas = max_replicas
        self.inactive_timeout = inactive_timeout
        self.display_name = display_name
        self.disable_speculative_decoding = disable_speculative_decoding
        self.availability_zone = availability_zone
        self.hours = hours

    def job_specs(self, context: Context) -> Sequence[Spec]:
        """The arguments that were given."""
        autoscaling = {
            "min_replicas": number(self.min_replicas, "min_replicas"),
            "max_replicas": number(self.max_replicas, "max_replicas"),
        }
        return [{**given(self, _ARGUMENTS), "autoscaling": autoscaling}]

    def price(self, spec: Spec) -> Steps[PriceEstimate]:
        """What all replicas cost in the hours that the endpoint is expected to serve."""
        from together_flows.jobs.pricing import endpoint_price

        return endpoint_price(spec, hours=number(self.hours, "hours") or 1.0)

    def teardown(self, task_id: str | None = None, **kwargs: Any) -> TogetherEndpointTeardownOperator:
        """
        The task that stops this endpoint. Used as a context manager, it runs after the tasks in its scope.

        :param task_id: its id; ``stop_`` and this task's by default.
        :param kwargs: further arguments of the teardown task.
        """
        stop = TogetherEndpointTeardownOperator(
            task_id=task_id or f"stop_{self.label}",
            setup_task_id=self.task_id,
            together_conn_id=self.together_conn_id,
            **kwargs,
        )
        stop.as_teardown(setups=self)
        # A teardown's usual rule skips it when the setup has failed, and a setup that was killed may have left an
        # endpoint that bills.
        stop.trigger_rule = TriggerRule.ALL_DONE
        return stop


class TogetherEndpointTeardownOperator(BaseOperator):
    """
    Stop and delete the endpoints that a task has started, whatever has become of that task.

    It learns of them from the XCom that :class:`TogetherEndpointOperator` pushes before it waits. An endpoint that is
    gone already is no error. Like every teardown it does not count for the state of the DAG run; it is retried three
    times unless told otherwise.

    :param setup_task_id: the task that started them. (templated)
    :param endpoint_id: an endpoint's id, instead. (templated)
    :param together_conn_id: id of the Airflow connection. (templated)
    """

    template_fields: Sequence[str] = ("setup_task_id", "endpoint_id", "together_conn_id")
    ui_color = "#e8ebf9"

    def __init__(
        self,
        *,
        setup_task_id: str | None = None,
        endpoint_id: str | None = None,
        together_conn_id: str = TogetherHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retries", 3)
        super().__init__(**kwargs)
        self.setup_task_id = setup_task_id
        self.endpoint_id = endpoint_id
        self.together_conn_id = together_conn_id

    @cached_property
    def hook(self) -> TogetherHook:
        """The hook of the operator's connection."""
        return TogetherHook(self.together_conn_id)

    def execute(self, context: Context) -> list[str]:
        """Stop them, and look until they are gone."""
        from together_flows.jobs import end_job, kind_named, run

        ended = []
        failures: list[TogetherError] = []
        for endpoint_id in self._endpoints(context):
            try:
                run(end_job(kind_named("endpoint"), endpoint_id), client=self.hook.client, log=self._say)
            except TogetherError as error:
                self.log.error("endpoint:%s could not be stopped and may still bill. %s", endpoint_id, error)
                failures.append(error)
            else:
                ended.append(endpoint_id)
        if failures:
            raise_for_airflow(failures[0])
        if not ended:
            self.log.info("No endpoint was started, so there is none to stop.")
        return ended

    def _endpoints(self, context: Context) -> list[str]:
        from together_flows.jobs import JobReference

        if self.endpoint_id:
            return [self.endpoint_id]
        task: Any = context["ti"]
        pushed = task.xcom_pull(task_ids=self.setup_task_id, key="together_jobs")
        return [JobReference.parse(reference).id for reference in _flat(pushed)]

    def _say(self, message: str, level: str) -> None:
        getattr(self.log, level)(message)


def _flat(pushed: Any) -> Iterable[str]:
    """The references that a task pushed, or that each of a mapped task's instances did."""
    if pushed is None:
        return
    if isinstance(pushed, str):
        yield pushed
        return
    for part in pushed:
        yield from _flat(part)
