"""Dedicated endpoints (v1): a model on GPUs of one's own, billed by the minute while it runs.

Together has closed creation and restart of v1 endpoints for most accounts: `EndpointCreationClosed`. Those that run can
still be read, stopped and deleted.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from together_flows.api._model import Answer, Name, Nested, Request, Rows, Time
from together_flows.api._operation import Reply, operation

__all__ = [
    "Autoscaling",
    "Endpoint",
    "EndpointList",
    "Replicas",
    "create",
    "delete",
    "list",
    "retrieve",
    "update",
]

DesiredState = Literal["STARTED", "STOPPED"]
Minutes = Annotated[int, Field(ge=0)]


class Autoscaling(Request):
    """How many replicas run: at least `min_replicas` without load, at most `max_replicas` under it."""

    min_replicas: Annotated[int, Field(ge=0)]
    max_replicas: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"has more min_replicas ({self.min_replicas}) than max_replicas ({self.max_replicas})")
        return self


class Replicas(Answer):
    """The bounds of an endpoint's replicas."""

    min_replicas: int | None = None
    max_replicas: int | None = None


class Endpoint(Answer):
    """An endpoint. Rows of `list` lack `display_name`, `hardware` and `autoscaling`.

    Attributes:
        id: `endpoint-…`.
        state: PENDING, STARTING and STOPPING go on; STARTED serves; STOPPED costs nothing; ERROR and FAILED are over.
        name: what inference calls `model`.
        type: `dedicated` or `serverless`.
    """

    id: str
    state: str
    object: str = "endpoint"
    name: str = ""
    display_name: str | None = None
    model: str | None = None
    hardware: str | None = None
    type: str | None = None
    owner: str | None = None
    autoscaling: Replicas | None = None
    inactive_timeout: int | None = None
    created_at: Time = None


class EndpointList(Answer):
    """All endpoints that match; the API does not page them."""

    data: Rows[Endpoint]


@operation("GET", "/endpoints")
def list(
    *,
    type: Literal["dedicated", "serverless"] | str | None = None,
    usage_type: Literal["on-demand", "reserved"] | str | None = None,
    mine: bool | None = None,
) -> EndpointList:
    """List endpoints, with their states.

    Args:
        type: only dedicated or only serverless ones.
        usage_type: only on-demand or only reserved ones.
        mine: only the account's own.
    """


@operation("POST", "/endpoints")
def create(
    *,
    model: Name,
    hardware: Name,
    autoscaling: Nested[Autoscaling],
    display_name: str | None = None,
    disable_prompt_cache: bool | None = None,
    disable_speculative_decoding: bool | None = None,
    state: DesiredState | str | None = None,
    inactive_timeout: Minutes | None = None,
    availability_zone: str | None = None,
) -> Endpoint:
    """Create an endpoint, and start it unless told otherwise. Each replica is billed by the minute until it stops.

    Args:
        model: model to serve.
        hardware: id of a configuration out of `hardware.list`; it tells the price.
        autoscaling: bounds of the number of replicas.
        display_name: name for people. It is not unique.
        disable_prompt_cache: without effect; deprecated by the API.
        disable_speculative_decoding: do without speculative decoding.
        state: `STARTED`, the default, or `STOPPED`.
        inactive_timeout: minutes without a request after which the endpoint stops by itself; 0 means never.
        availability_zone: zone out of `clusters.list_availability_zones`.

    Raises:
        EndpointCreationClosed: the account can no longer create v1 endpoints.
    """


@operation("GET", "/endpoints/{endpointId}")
def retrieve(endpoint_id: str, /) -> Endpoint:
    """Read one endpoint in full."""


@operation("PATCH", "/endpoints/{endpointId}")
def update(
    endpoint_id: str,
    /,
    *,
    display_name: str | None = None,
    state: DesiredState | str | None = None,
    autoscaling: Nested[Autoscaling] | None = None,
    inactive_timeout: Minutes | None = None,
) -> Endpoint:
    """Start, stop, rename or rescale an endpoint.

    Args:
        endpoint_id: `endpoint-…`.
        display_name: new name for people.
        state: `STARTED` or `STOPPED`.
        autoscaling: new bounds of the number of replicas.
        inactive_timeout: minutes without a request after which the endpoint stops by itself; 0 means never.

    Raises:
        EndpointCreationClosed: the account can no longer start v1 endpoints.
    """


@operation("DELETE", "/endpoints/{endpointId}", reply=Reply.NOTHING)
def delete(endpoint_id: str, /) -> None:
    """Stop an endpoint for good."""
