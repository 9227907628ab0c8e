"""Operators for dedicated endpoints: start one, and stop it whatever happens in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider.operators.base import TogetherJobOperator, given, number
from airflow_provider.operators.teardown import TogetherBillingJobOperator, TogetherTeardownOperator

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


class TogetherEndpointTeardownOperator(TogetherTeardownOperator):
    """
    Stop and delete the endpoints that a task has started.

    :param endpoint_id: an endpoint's id, instead of the task's. (templated)

    It also takes what :class:`~airflow_provider.operators.teardown.TogetherTeardownOperator` takes.
    """

    kind = "endpoint"
    template_fields: Sequence[str] = ("endpoint_id", *TogetherTeardownOperator.template_fields)

    def __init__(self, *, endpoint_id: str | None = None, **kwargs: Any) -> None:
        if endpoint_id is not None:
            kwargs["job_id"] = endpoint_id
        super().__init__(**kwargs)
        self.endpoint_id = endpoint_id


class TogetherEndpointOperator(TogetherBillingJobOperator):
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
    teardown_operator = TogetherEndpointTeardownOperator
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
