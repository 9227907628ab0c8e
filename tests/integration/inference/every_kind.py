"""One table of what rows can be sent to, for whoever shows that a promise holds for all of it."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from together_flows.emulator import Emulator
from together_flows.inference import MODALITIES
from together_flows.inference.places import place_of

ROWS, CONCURRENCY = 9, 3
BAD = 4
"""The row that fails."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One operation over rows.

    Attributes:
        route: of its requests.
        model: that serves it.
        row: makes the row of a number.
        holds: whether a response is what the operation promises.
        defaults: further arguments.
        makes: the suffix of the file that each row makes.
        wishes: further arguments of the operator and the task.
    """

    route: str
    model: str
    row: Callable[[int], Json]
    holds: Callable[[Json], bool]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    makes: str = ""
    wishes: Mapping[str, Any] = field(default_factory=dict)

    def rows(self) -> list[Json]:
        """Rows with ids, one of which fails because there is no such model."""
        rows = [{"custom_id": f"id/{number}", **self.row(number)} for number in range(ROWS)]
        rows[BAD]["model"] = "no/such-model"
        return rows

    def arguments(self, rows: Any, output: str) -> Json:
        """Arguments of the operator and the task."""
        return {
            "rows": rows,
            "output_path": output,
            "model": self.model,
            "defaults": dict(self.defaults),
            "concurrency": CONCURRENCY,
            **self.wishes,
        }

    def check(self, emulator: Emulator, made: Json, output: str) -> None:
        """Everything that is promised of a run."""
        assert (made["rows"], made["succeeded"], made["failed"]) == (ROWS, ROWS - 1, 1)
        assert made["rate_limited"] == 1
        assert len(json.dumps(made)) < 1_000
        with place_of(output).open() as stream:
            found = [json.loads(line) for line in stream.read().splitlines()]
        assert [(line["index"], line["custom_id"]) for line in found] == [(n, f"id/{n}") for n in range(ROWS)]
        bad = found.pop(BAD)
        assert (bad["status"], bad["status_code"]) == ("failed", 404)
        assert "no/such-model" in bad["error"]["message"]
        for line in found:
            assert line["status"] == "succeeded"
            assert self._is_whole(line)
        if self.route == "POST /videos":  # too few and too slow for the pace to recover from its refusal
            assert most_at_once(emulator.jobs("video")) <= CONCURRENCY
        else:
            assert emulator.counts()["at_once"][self.route] == CONCURRENCY

    def _is_whole(self, line: Json) -> bool:
        if not self.makes:
            return self.holds(line["response"])
        [path] = line["paths"]
        with place_of(path).open() as stream:
            content = stream.read()
        name = path.rpartition("/")[2]
        return name == f"{line['index']:09d}-id-{line['index']}.{self.makes}" and len(content) > 100


def most_at_once(jobs: list[Json]) -> int:
    """The most jobs that were being made at the same time."""
    spans = [[datetime.fromisoformat(stage["at"]) for stage in job["stages"]] for job in jobs]
    return max(sum(span[0] <= begun < span[-1] for span in spans) for begun, *_ in spans)


def sound(folder: Path) -> str:
    """A short recording: a WAV file of silence, for rows that are listened to."""
    path = folder / "recording.wav"
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(16_000)
        stream.writeframes(bytes(32_000))
    return str(path)


def cases(folder: Path) -> dict[str, Case]:
    """Every operation that takes rows.

    Args:
        folder: where a recording may be put.
    """
    recording = sound(folder)
    listening = Case(
        "POST /audio/transcriptions", "openai/whisper-large-v3", lambda n: {"file": recording}, lambda r: "text" in r
    )
    found = {
        "chat.create": Case(
            "POST /chat/completions",
            "Qwen/Qwen3.5-9B",
            lambda n: {"messages": [{"role": "user", "content": f"Where is parcel {n}?"}]},
            lambda response: bool(response["choices"][0]["message"]["content"]),
            {"max_tokens": 8},
        ),
        "completions.create": Case(
            "POST /completions",
            "mistralai/Mixtral-8x7B-v0.1",
            lambda n: {"prompt": f"Parcel {n} is"},
            lambda response: bool(response["choices"][0]["text"]),
            {"max_tokens": 4},
        ),
        "embeddings.create": Case(
            "POST /embeddings",
            "BAAI/bge-base-en-v1.5",
            lambda n: {"input": f"parcel {n}"},
            lambda response: len(response["data"][0]["embedding"]) > 100,
        ),
        "rerank.create": Case(
            "POST /rerank",
            "Salesforce/Llama-Rank-V1",
            lambda n: {"query": f"parcel {n}"},
            lambda response: len(response["results"]) == 2,
            {"documents": ["a parcel", "a bee"]},
        ),
        "images.generate": Case(
            "POST /images/generations",
            "black-forest-labs/FLUX.1-schnell",
            lambda n: {"prompt": f"parcel {n}", "response_format": "url" if n % 2 else "base64"},
            lambda response: True,
            {"width": 64, "height": 64},
            makes="jpg",
        ),
        "audio.create_speech": Case(
            "POST /audio/speech",
            "hexgrad/Kokoro-82M",
            lambda n: {"input": f"parcel {n}"},
            lambda response: True,
            {"voice": "tara"},
            makes="wav",
        ),
        "audio.create_transcription": listening,
        "audio.create_translation": replace(listening, route="POST /audio/translations"),
        "videos.create": Case(
            "POST /videos",
            "minimax/video-01-director",
            lambda n: {"prompt": f"parcel {n}"},
            lambda response: True,
            {"seconds": "1", "width": 64, "height": 64},
            makes="mp4",
            wishes={"poll_interval": 0.1},
        ),
    }
    assert set(found) == set(MODALITIES)
    return found


OPERATIONS = tuple(MODALITIES)
