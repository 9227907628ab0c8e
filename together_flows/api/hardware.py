"""The hardware that dedicated endpoints can run on, and its price."""

from __future__ import annotations

from together_flows.api._model import Answer, Rows, Time
from together_flows.api._operation import operation

__all__ = ["Availability", "Hardware", "HardwareList", "Pricing", "Specs", "list"]


class Pricing(Answer):
    """US cents for a minute of one replica."""

    cents_per_minute: float | None = None


class Specs(Answer):
    """The GPUs of a configuration: type, link, memory of one in GB, and number."""

    gpu_type: str | None = None
    gpu_link: str | None = None
    gpu_memory: float | None = None
    gpu_count: int | None = None


class Availability(Answer):
    """Whether a configuration can be had now: `available`, `unavailable` or `insufficient`."""

    status: str


class Hardware(Answer):
    """A hardware configuration. `availability` is told only when `list` was asked for a model."""

    id: str
    object: str = "hardware"
    pricing: Pricing | None = None
    specs: Specs | None = None
    availability: Availability | None = None
    updated_at: Time = None


class HardwareList(Answer):
    """The configurations that match."""

    data: Rows[Hardware]


@operation("GET", "/hardware")
def list(*, model: str | None = None) -> HardwareList:
    """List hardware configurations with their prices.

    Args:
        model: only what this model can run on, with its present availability.
    """
