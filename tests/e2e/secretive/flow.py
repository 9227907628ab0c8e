"""Flows that take a secret everywhere the API takes one: most tasks do their work, others fail in all ways they can.

python -m tests.e2e.secretive.flow save              # the blocks
python -m tests.e2e.secretive.flow sync FILE FILE    # a run, with the ids of a training and a held-out file
python -m tests.e2e.secretive.flow async FILE FILE   # the same with the tasks' async twins
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import anyio
from prefect.blocks.system import Secret
from pydantic import SecretStr

import together_flows.prefect as tp
from tests.e2e.secretive.account import ECHOES, SECRETS

BLOCK, WRONG, DEPLOYMENT = "together", "together-wrong", "by-block"
MODEL = "Qwen/Qwen3-8B"
TESTED = {
    "model": "openai/gpt-5",
    "model_source": "external",
    "external_base_url": "https://models.example/v1",
    "system_template": "Answer.",
    "input_template": "{{ question }} {{ reference }}",
    "max_tokens": 16,
    "temperature": 0,
}
SCORE = {
    "judge": {"model": MODEL, "model_source": "serverless", "system_template": "Is it right?"},
    "min_score": 1,
    "max_score": 10,
    "pass_threshold": 5,
}
IMAGE = {"image": "registry.together.ai/me/detector:1", "gpu_type": "h100-80gb", "gpu_count": 1}
POLL = {"poll_interval": 0.5}

#: A task by its name, and its arguments.
Case = tuple[str, dict[str, Any]]


def save() -> None:
    """Save the blocks, which is where Prefect keeps secrets: encrypted."""
    account: dict[str, Any] = {
        "base_url": os.environ["SECRETIVE_URL"],
        "wandb_api_key": SECRETS["wandb"],
        "hf_token": SECRETS["hf"],
        "external_api_token": SECRETS["elsewhere"],
    }
    good = tp.TogetherCredentials(api_key=SECRETS["key"], **account)
    blocks: dict[str, Any] = {
        BLOCK: good,
        WRONG: tp.TogetherCredentials(api_key=SECRETS["wrong_key"], **account),
        DEPLOYMENT: tp.DeploymentJob(
            credentials=good,
            arguments={"name": "by-block", **IMAGE},
            secret_environment={"PASSWORD": SECRETS["container"], "PEM": SECRETS["pem"]},
        ),
        **{name: Secret(value=SECRETS[name]) for name in ("container", "pem", "registry", "queue")},
    }
    for name, block in blocks.items():
        block.save(name, overwrite=True)


def kept(name: str) -> SecretStr:
    """A secret out of Prefect's own block for one."""
    return SecretStr(str(Secret.load(name, _sync=True).get()))  # type: ignore[call-arg] # taken by Prefect's dispatcher


def variables(**further: Any) -> list[dict[str, Any]]:
    return [{"name": "PASSWORD", "value": kept("container"), **further}, {"name": "PEM", "value": kept("pem")}]


class Cases:
    """The cases, on files of the account."""

    def __init__(self, training_file: str, heldout_file: str) -> None:
        self.training_file, self.heldout_file = training_file, heldout_file

    def tuned(self, word: str, **rest: Any) -> dict[str, Any]:
        names = {"wandb_project_name": "parcels", "hf_output_repo_name": "me/out"}
        return {"training_file": self.training_file, "model": MODEL, "suffix": word[:20], **names, **rest}

    def scored(self, **tested: Any) -> dict[str, Any]:
        data = {"model_to_evaluate": {**TESTED, **tested}, "input_data_file_path": self.heldout_file}
        return {"type": "score", "parameters": {**SCORE, **data}}

    def works(self, word: str) -> Iterator[Case]:
        """What does its work. The word makes the names differ."""
        yield "fine_tune", {**self.tuned(word), **POLL}
        yield "upload_model", {"model_name": f"me/{word}", "model_source": "me/private", **POLL}
        yield "evaluate", {**self.scored(), **POLL}
        yield "deploy_container", {"name": word, **IMAGE, "environment_variables": variables(), **POLL}
        yield "call", {"operation": "deployments.retrieve", "arguments": {"id": word}}
        yield "submit_queue_job", {"model": word, "payload": {"password": kept("queue")}}
        stored = {"name": f"registry-{word}", "value": kept("registry")}
        yield "call", {"operation": "deployments.create_secret", "arguments": stored}
        made = {"name": f"by-hand-{word}", **IMAGE, "environment_variables": variables()}
        yield "call", {"operation": "deployments.create", "arguments": made}

    def is_refused_here(self) -> Iterator[Case]:
        """What fails before it is sent."""
        yield "fine_tune", self.tuned("here", n_epochs=kept("queue"))
        yield "fine_tune", self.tuned("here", wandb_api_key=SECRETS["wandb"])
        yield "evaluate", self.scored(external_api_token=[SECRETS["elsewhere"]])
        yield "deploy_container", {"name": "x", **IMAGE, "environment_variables": variables(value_from_secret="y")}
        wrong = {"name": "no name", "value": kept("registry"), "what": SECRETS["registry"]}
        yield "call", {"operation": "deployments.create_secret", "arguments": wrong}

    def is_refused_there(self) -> Iterator[Case]:
        """What the API refuses, and repeats as it does."""
        yield "fine_tune", {"credentials": WRONG, **self.tuned("wrong")}
        text, list_, page, _ = ECHOES
        yield "fine_tune", self.tuned(text)
        yield "upload_model", {"model_name": "me/copy", "model_source": "me/private", "description": list_}
        yield "evaluate", self.scored(model=page)
        deployed = {"name": "refused", "description": text, "environment_variables": variables()}
        yield "deploy_container", {**IMAGE, **deployed}
        queued = {"model": "works", "payload": {"password": kept("queue")}, "info": {"why": list_}}
        yield "submit_queue_job", queued
        for word in ECHOES:
            stored = {"name": "registry", "value": kept("registry"), "description": word}
            yield "call", {"operation": "deployments.create_secret", "arguments": stored}
        by_hand = {"training_file": self.training_file, "model": MODEL, "suffix": text, "hf_api_token": kept("pem")}
        yield "call", {"operation": "fine_tunes.create", "arguments": by_hand}


def told(group: str, name: str, ended: Any) -> dict[str, str]:
    failed = type(ended).__name__ if isinstance(ended, Exception) else ""
    return {"group": group, "task": name, "failed": failed, "end": str(ended)}


@tp.together_flow(name="secretive", persist_result=True)
def secretive(training_file: str, heldout_file: str, password: SecretStr) -> list[dict[str, str]]:
    """Run all cases, and tell how each ended."""
    cases = Cases(training_file, heldout_file)
    groups = (cases.works("works"), cases.is_refused_here(), cases.is_refused_there())
    ends = []
    for group in groups:
        for name, arguments in group:
            state = getattr(tp, name)(**{"credentials": BLOCK, **arguments}, return_state=True)
            ends.append(told(group.__name__, name, state.result(raise_on_failure=False)))
    by_block: Any = tp.DeploymentJob.load(DEPLOYMENT, _sync=True)  # type: ignore[call-arg] # taken by Prefect
    return [*ends, told("works", "DeploymentJob", by_block.trigger().job)]


@tp.together_flow(name="asecretive", persist_result=True)
async def asecretive(training_file: str, heldout_file: str, password: SecretStr) -> list[dict[str, str]]:
    """The same with the async twins."""
    cases = Cases(training_file, heldout_file)
    groups = (cases.works("aworks"), cases.is_refused_here(), cases.is_refused_there())
    ends = []
    for group in groups:
        for name, arguments in await anyio.to_thread.run_sync(list, group):
            state = await getattr(tp, f"a{name}")(**{"credentials": BLOCK, **arguments}, return_state=True)
            ends.append(told(group.__name__, name, await state.aresult(raise_on_failure=False)))
    return ends


def main(arguments: list[str]) -> None:
    match arguments:
        case ["save"]:
            save()
        case ["sync", training_file, heldout_file]:
            print(json.dumps(secretive(training_file, heldout_file, kept("queue"))))  # noqa: T201 - the test reads it
        case ["async", training_file, heldout_file]:
            ends = asyncio.run(asecretive(training_file, heldout_file, kept("queue")))
            print(json.dumps(ends))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(sys.argv[1:])
