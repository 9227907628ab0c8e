"""Small files for the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from together_flows.datasets.report import Problem, Report

CHAT = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]


def write_lines(path: Path, rows: Iterable[object]) -> Path:
    """Write JSON lines; strings and bytes are written as they are."""
    path.write_bytes(b"".join(_line(row) + b"\n" for row in rows))
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def request(custom_id: str, text: str = "Hello", model: str = "org/model") -> dict[str, Any]:
    return {"custom_id": custom_id, "body": {"model": model, "messages": [{"role": "user", "content": text}]}}


def answer(custom_id: str, text: str = "Hi", **response: Any) -> dict[str, Any]:
    body = {
        "choices": [{"message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5},
    }
    return {"custom_id": custom_id, "response": {"status_code": 200, "body": body} | response}


def error(custom_id: str, message: str = "boom", code: str | None = "server_error") -> dict[str, Any]:
    return {"custom_id": custom_id, "error": {"message": message, "code": code}}


def places(report: Report) -> list[tuple[int, str]]:
    return [(problem.line, problem.column) for problem in report.problems]


def only_problem(report: Report) -> Problem:
    assert report.problem_count == 1, [str(problem) for problem in report.problems]
    return report.problems[0]


def _line(row: object) -> bytes:
    if isinstance(row, bytes):
        return row
    return (row if isinstance(row, str) else json.dumps(row)).encode()
