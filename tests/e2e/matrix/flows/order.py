"""What a flow run of the matrix is told to do, and what it leaves in the scenario's folder for the scenario to see."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from together_flows.jobs.pipeline import score_parameters

MODEL = "Qwen/Qwen3-8B"
HARDWARE = "1x_nvidia_h100_80gb_sxm"


class Flaky(Exception):
    """Something that has nothing to do with Together."""


class Order(BaseModel):
    """The parameter of every flow of the matrix.

    Attributes:
        account: name of the credentials block.
        kind: job kind.
        folder: the scenario's folder.
        training_file: file that fine-tuning jobs train on.
        heldout_file: file that models are evaluated on.
        source: local file that is uploaded.
        die_at: where the process dies, in the words of `together_flows.jobs.crash`: the first attempt at the first, and
            so on. An attempt beyond them lives.
        hold: whether an endpoint is used until the file `release` appears in the folder.
        fails_at: step at which the flow itself fails.
    """

    account: str
    kind: str
    folder: str
    training_file: str
    heldout_file: str
    source: str = ""
    die_at: list[str] = []
    hold: bool = False
    fails_at: str = ""

    def begin(self) -> None:
        """Say which process this attempt is, and arm its death."""
        number = len(list(Path(self.folder).glob("attempt-*.pid")))
        if number < len(self.die_at):
            os.environ["TOGETHER_FLOWS_CRASH_AT"] = self.die_at[number]
        pid = Path(self.folder) / f"attempt-{number + 1}"
        pid.write_text(str(os.getpid()))
        pid.rename(pid.with_suffix(".pid"))  # whoever sees it sees all of it

    def arguments(self) -> dict[str, Any]:
        """The arguments of the kind's task."""
        own: dict[str, dict[str, Any]] = {
            "fine_tune": {"training_file": self.training_file, "model": MODEL, "suffix": "tuned"},
            "batch": {"rows": ["hello", "goodbye"], "output_path": f"{self.folder}/rows.jsonl", "model": MODEL},
            "endpoint": {"model": MODEL, "hardware": HARDWARE},
            "file": {"path": self.source, "purpose": "batch-api"},
            "evaluation": {
                "type": "score",
                "parameters": {
                    **score_parameters(MODEL, judge_model=MODEL, prompt_column="question"),
                    "input_data_file_path": self.heldout_file,
                },
            },
            "model_upload": {"model_name": "mine", "model_source": "someone/some-model"},
            "deployment": {"name": "app", "image": "registry.together.ai/team/app:1", "gpu_type": "h100-80gb"},
        }
        return {**own[self.kind], "poll_interval": 1.0}

    def leave(self, result: Mapping[str, Any] | list[dict[str, Any]]) -> None:
        """Leave what came of the job."""
        (Path(self.folder) / "result.json").write_text(json.dumps(result))

    def fail_once(self, where: str) -> None:
        """Fail the first time that this place is reached."""
        mark = Path(self.folder) / f"failed-in-{where}"
        if not mark.exists():
            mark.touch()
            raise Flaky(where)

    def stay(self) -> None:
        """Block for as long as the order says that the endpoint is in use."""
        (Path(self.folder) / "in_use").touch()
        while self._is_held:
            time.sleep(0.1)

    async def astay(self) -> None:
        """The same as `stay`, on the event loop."""
        (Path(self.folder) / "in_use").touch()
        while self._is_held:
            await asyncio.sleep(0.1)

    @property
    def _is_held(self) -> bool:
        return self.hold and not (Path(self.folder) / "release").exists()
