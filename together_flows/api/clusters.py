"""The availability zones of dedicated endpoints."""

from __future__ import annotations

from together_flows.api._model import Answer, Rows
from together_flows.api._operation import operation

__all__ = ["AvailabilityZones", "list_availability_zones"]


class AvailabilityZones(Answer):
    """The names of the zones, such as `us-central-4b`."""

    avzones: Rows[str]


@operation("GET", "/clusters/availability-zones")
def list_availability_zones() -> AvailabilityZones:
    """List the zones that `endpoints.create` can be given."""
