"""Train a model, and serve it only if it got better: served as a deployment, or run once.

The environment tells the account: `TOGETHER_API_KEY`, and `TOGETHER_BASE_URL` where it is the emulator.

    python dags_examples/prefect/fine_tune_pipeline.py                         # serve it; start runs from the UI
    python dags_examples/prefect/fine_tune_pipeline.py --once training.jsonl held_out.jsonl prompts.jsonl out
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from together_flows.prefect import TogetherCredentials, fine_tune_pipeline

#: Every parameter of the flow can be set here, in the UI, and for each run.
PARAMETERS: dict[str, Any] = {
    "credentials": "together",
    "training_path": "training.jsonl",
    "heldout_path": "held_out.jsonl",  # a `question` and a `reference` in each row
    "prompts_path": "prompts.jsonl",  # a `prompt` in each row
    "output_folder": "together_output",
    "model": "Qwen/Qwen3-8B",
    "n_epochs": 1,
    "budget": 20.0,  # US dollars; a training that is estimated to cost more is not submitted
    "margin": 0.5,  # points out of 10 by which the tuned model must be better
    "hardware": "1x_nvidia_h100_80gb_sxm",
    "wait_timeout": 24 * 3600.0,
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
        names = ("training_path", "heldout_path", "prompts_path", "output_folder")
        asyncio.run(fine_tune_pipeline(**{**PARAMETERS, **dict(zip(names, arguments[1:], strict=False))}))
    else:
        fine_tune_pipeline.serve(name="together-fine-tune-pipeline", parameters=PARAMETERS, tags=["together"])


if __name__ == "__main__":
    main(sys.argv[1:])
