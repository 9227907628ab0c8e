"""Flows that run many jobs at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import unmapped
from prefect.task_runners import ThreadPoolTaskRunner

import together_flows.prefect as tp
from tests.e2e.matrix.flows.order import MODEL, Order
from together_flows.prefect import together_flow

#: Jobs of the flow that runs a crowd of them.
CROWD = 200


@together_flow
def twins(order: Order) -> None:
    """Two tasks of a map with the same inputs, at the same time."""
    order.begin()
    if order.kind == "batch":
        outputs = [str(Path(order.folder) / f"{number}.jsonl") for number in range(2)]
        rows = unmapped(["hello", "goodbye"])
        made = tp.batch.map(order.account, rows, outputs, model=MODEL, poll_interval=1.0)
    else:
        made = tp.fine_tune.map(order.account, training_file=[order.training_file] * 2, model=MODEL, poll_interval=1.0)
    order.leave(made.result())


@together_flow(task_runner=ThreadPoolTaskRunner(max_workers=16))
def crowd(order: Order) -> None:
    """Many tasks of a map with the same inputs, and one wait for all of their jobs."""
    order.begin()
    files = [order.training_file] * CROWD
    jobs: list[dict[str, Any]] = tp.submit_fine_tune.map(order.account, training_file=files, model=MODEL).result()
    order.leave(tp.wait_many(order.account, jobs, poll_interval=1.0))
