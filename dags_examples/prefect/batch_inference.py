"""Answer a file of prompts every night: rows in, rows out, in order, each accounted for.

The environment tells the account: `TOGETHER_API_KEY`, and `TOGETHER_BASE_URL` where it is the emulator.

    python dags_examples/prefect/batch_inference.py                            # serve it, every night at two
    python dags_examples/prefect/batch_inference.py --once prompts.jsonl out
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from together_flows.prefect import TogetherCredentials, batch_inference

#: Every parameter of the flow can be set here, in the UI, and for each run.
PARAMETERS: dict[str, Any] = {
    "credentials": "together",
    "prompts_path": "prompts.jsonl",  # a `prompt` in each row; a local path or an fsspec URL
    "output_folder": "together_output",
    "model": "Qwen/Qwen3-8B",
    "system": "Answer briefly.",
    "max_tokens": 256,
    "max_failed_share": 0.05,
    "budget": 5.0,  # US dollars at list prices
    "wait_timeout": 72 * 3600.0,  # the API's own window is 24 hours, best effort
}


def save_credentials() -> None:
    """Make the credentials block from the environment. In production make it once, by hand or in your own set-up."""
    block = TogetherCredentials(
        api_key=os.environ["TOGETHER_API_KEY"], base_url=os.environ.get("TOGETHER_BASE_URL") or None
    )
    block.save(PARAMETERS["credentials"], overwrite=True)


def main(arguments: list[str]) -> None:
    save_credentials()
    if arguments[:1] == ["--once"]:
        names = ("prompts_path", "output_folder")
        asyncio.run(batch_inference(**{**PARAMETERS, **dict(zip(names, arguments[1:], strict=False))}))
    else:
        batch_inference.serve(name="together-batch-inference", parameters=PARAMETERS, cron="0 2 * * *")


if __name__ == "__main__":
    main(sys.argv[1:])
