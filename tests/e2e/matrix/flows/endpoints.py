"""A flow that uses an endpoint and fails at a step of that."""

from __future__ import annotations

from typing import Any

import together_flows.prefect as tp
from tests.e2e.matrix.flows.order import Flaky, Order
from together_flows.prefect import together_flow

#: The steps at which the flow fails, in words.
STEPS = ("after the creation", "after the start", "in the block", "after the block")


@together_flow
def failing(order: Order) -> None:
    order.begin()
    if order.fails_at == "after the creation":
        tp.submit_endpoint(order.account, **_without_wait(order))
        raise Flaky(order.fails_at)
    if order.fails_at == "after the start":
        tp.deploy_endpoint(order.account, **order.arguments())
        raise Flaky(order.fails_at)
    with tp.endpoint(order.account, **order.arguments()):
        if order.fails_at == "in the block":
            raise Flaky(order.fails_at)
    raise Flaky(order.fails_at)


def _without_wait(order: Order) -> dict[str, Any]:
    return {name: value for name, value in order.arguments().items() if name != "poll_interval"}
