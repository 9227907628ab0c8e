"""Serves the flows of the matrix under a name: `python -m tests.e2e.matrix.flows.serve NAME [FLOW…]`."""

from __future__ import annotations

import json
import os
import sys
from inspect import getmembers
from typing import Any

from prefect import Flow, serve

from tests.e2e.matrix.flows import endpoints, many, ways
from together_flows.prefect import TogetherCredentials, sweep

#: Environment variable with the API key and base URL of each account, by its name, as JSON.
ACCOUNTS = "MATRIX_ACCOUNTS"
_RUNS_AT_ONCE = 24


def flows() -> dict[str, Flow[..., object]]:
    """Every flow of the matrix by the name it is deployed under."""
    found = {name: flow for module in (ways, endpoints, many) for name, flow in getmembers(module) if _is_flow(flow)}
    return {**found, "sweep": sweep}


def _is_flow(member: object) -> bool:
    return isinstance(member, Flow)


def save_accounts() -> None:
    for name, account in json.loads(os.environ[ACCOUNTS]).items():
        TogetherCredentials(**account).save(name, overwrite=True)


if __name__ == "__main__":
    name, *chosen = sys.argv[1:]
    if not chosen:  # whoever serves a few of them comes later, and finds the accounts there
        save_accounts()
    served: list[Any] = [flow.to_deployment(name) for known, flow in flows().items() if not chosen or known in chosen]
    serve(*served, limit=_RUNS_AT_ONCE, print_starting_message=False)
