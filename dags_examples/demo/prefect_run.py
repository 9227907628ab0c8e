"""Runs the shipped flow once, on a Prefect server of its own. Started by the demo as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys


async def main() -> int:
    """Run the pipeline with the parameters given as JSON, and answer with an exit code."""
    parameters = json.loads(sys.argv[1])

    from together_flows.prefect import TogetherCredentials, fine_tune_pipeline

    credentials = TogetherCredentials(api_key=os.environ["TOGETHER_API_KEY"], base_url=os.environ["TOGETHER_BASE_URL"])
    await credentials.asave("together", overwrite=True)
    state = await fine_tune_pipeline("together", **parameters, return_state=True)
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
