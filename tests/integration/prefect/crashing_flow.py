"""Executes one flow run in this process, as a runner's child does, so that a test can kill it and execute it again."""

from __future__ import annotations

import sys
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

import together_flows.prefect as tp


@tp.together_flow
def crashing(block: str, file_id: str, model: str) -> str:
    tuned = tp.fine_tune(block, training_file=file_id, model=model, poll_interval=0.2)
    return str(tuned["id"])


def main(flow_run_id: str) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run_id), Scheduled(), force=True)
        flow_run = client.read_flow_run(UUID(flow_run_id))
    sys.stdout.write(str(run_flow(crashing, flow_run=flow_run, parameters=flow_run.parameters)))


if __name__ == "__main__":
    main(sys.argv[1])
