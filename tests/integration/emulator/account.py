"""A user of the emulator, as the tests play one: plain HTTP, no client of ours."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpx2

from together_flows.emulator import Emulator

BASE_MODEL = "Qwen/Qwen3-8B"

Json = dict[str, Any]

CAPITALS = {"France": "Paris", "Spain": "Madrid", "Italy": "Rome", "Germany": "Berlin", "Poland": "Warsaw"}


class Account:
    """Sends requests with the right key, and knows the few steps that most tests begin with."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.bare = httpx2.Client(timeout=20, trust_env=False, verify=False)
        """Sends no key."""
        self.http = httpx2.Client(
            base_url=emulator.url,
            headers={"Authorization": f"Bearer {emulator.api_key}"},
            timeout=20,
            trust_env=False,
            verify=False,
        )

    def close(self) -> None:
        self.http.close()
        self.bare.close()

    def get(self, path: str, **query: Any) -> Any:
        return self.http.get(path, params=query or None).raise_for_status().json()

    def post(self, path: str, body: Any = None) -> Any:
        return self.http.post(path, json=body).raise_for_status().json()

    def until(self, path: str, ready: Callable[[Json], bool], seconds: float = 10) -> Json:
        """Reads a job again and again until it is ready."""
        deadline = time.monotonic() + seconds
        while not ready(job := self.get(path)):
            assert time.monotonic() < deadline, f"{path} did not get ready: {job}"
            time.sleep(0.003)
        return job

    def upload(self, content: bytes, purpose: str, name: str = "data.jsonl") -> Json:
        """Uploads in one request and waits for the check."""
        form = {"purpose": purpose, "file_name": name, "file_type": name.rpartition(".")[2]}
        file = self.http.post("/files/upload", data=form, files={"file": (name, content)}).raise_for_status().json()
        return self.until(f"/files/{file['id']}", checked)

    def upload_rows(self, rows: Iterable[Any], purpose: str) -> str:
        """Uploads rows as JSON lines; returns the file's id."""
        file = self.upload(jsonl(rows), purpose)
        assert file["Processed"], file
        return str(file["id"])

    def training_file(self, questions: int = 5) -> str:
        """A training file about capitals; more questions than countries are answered by more of the same."""
        return self.upload_rows(conversations(questions), "fine-tune")

    def fine_tune(self, **request: Any) -> Json:
        """Creates a fine-tune on the capitals; returns the creation's answer."""
        body = {"training_file": request.pop("training_file", None) or self.training_file(), "model": BASE_MODEL}
        return dict(self.post("/fine-tunes", body | request))

    def tuned_model(self) -> str:
        """A model that knows the capitals."""
        job = self.fine_tune()
        done = self.until(f"/fine-tunes/{job['id']}", lambda job: job["status"] == "completed")
        return str(done["model_output_name"])

    def ask(self, model: str, question: str, **request: Any) -> httpx2.Response:
        """One chat completion."""
        body = {"model": model, "messages": [{"role": "user", "content": question}]} | request
        return self.http.post("/chat/completions", json=body)

    def answer(self, model: str, question: str, **request: Any) -> str:
        return str(self.ask(model, question, **request).raise_for_status().json()["choices"][0]["message"]["content"])

    def batch(self, rows: Iterable[Any], *, speed: float | None = None, **request: Any) -> Json:
        """Creates a batch over rows, with the emulator at this speed once they are uploaded; returns the job."""
        body = {"input_file_id": self.upload_rows(rows, "batch-api"), "endpoint": "/v1/chat/completions"}
        if speed is not None:
            self.emulator.settings(speed=speed)
        return dict(self.post("/batches", body | request)["job"])

    def lines(self, file_id: str) -> list[Json]:
        """The rows of a file."""
        content = self.http.get(f"/files/{file_id}/content").raise_for_status().text
        return [json.loads(line) for line in content.splitlines()]


def checked(file: Json) -> bool:
    return file["processing_status"] in ("COMPLETED", "INVALID_FORMAT", "FAILED")


def jsonl(rows: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def conversations(count: int = 5) -> list[Json]:
    countries = list(CAPITALS)
    return [
        {
            "messages": [
                {"role": "user", "content": f"What is the capital of {country}?"},
                {"role": "assistant", "content": f"The capital of {country} is {CAPITALS[country]}."},
            ]
        }
        for country in (countries[index % len(countries)] for index in range(count))
    ]


def requests(count: int, model: str = BASE_MODEL) -> list[Json]:
    """Lines of a batch."""
    return [
        {
            "custom_id": f"row-{index}",
            "body": {"model": model, "messages": [{"role": "user", "content": f"Hi {index}"}]},
        }
        for index in range(count)
    ]
