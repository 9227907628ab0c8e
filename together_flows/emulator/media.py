"""Models that do something else than write: which of them a request may name."""

from __future__ import annotations

from together_flows.emulator.refusals import Refusal
from together_flows.emulator.serving import Served, serve
from together_flows.emulator.world import World

__all__ = ["serve_type"]


def serve_type(world: World, name: str, type: str) -> Served:
    """The model behind the name of a request.

    Raises:
        Refusal: 404, there is no such model; 400, it is of another type, or not served.
    """
    served = serve(world, name)
    if served.base.type != type:
        raise Refusal(
            400,
            f"Model {name} is of type {served.base.type}; this takes type {type}.",
            param="model",
            code="wrong_type",
        )
    return served
