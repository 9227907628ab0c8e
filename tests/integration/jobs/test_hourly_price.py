"""What running jobs cost by the hour, against what the emulator really bills for them."""

from __future__ import annotations

import time

import pytest

from together_flows.api import endpoints
from together_flows.jobs import hourly_usd

from .desk import HARDWARE, MODEL, Desk

STARTING_HOURS = 0.05
"""The emulator takes three minutes to start an endpoint, and bills them."""


def test_the_price_of_an_endpoint_is_what_it_is_billed_for(desk: Desk) -> None:
    bounds = {"min_replicas": 2, "max_replicas": 4}
    created = desk.client.send(
        endpoints.create(model=MODEL, hardware=HARDWARE, autoscaling=bounds, inactive_timeout=60)
    )
    row = desk.client.send(endpoints.retrieve(created.id).untyped())

    (usd,) = desk.run(hourly_usd([("endpoint", row)]))
    assert usd == pytest.approx(2 * 60 * 0.0665)

    deadline = time.monotonic() + 10
    while desk.client.send(endpoints.retrieve(created.id)).state != "STOPPED":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (job,) = [job for job in desk.emulator.jobs() if job["id"] == created.id]
    assert job["billed_usd"] == pytest.approx(usd * (STARTING_HOURS + 1), rel=1e-3)
