"""Runs a program, keeps all that it says in a file, and shows the lines that a person wants to see as they come."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["airflow_line", "prefect_line", "run_child"]

Show = Callable[[str], str | None]

_AIRFLOW = re.compile(r"^\S+ \[(?P<level>\w+)\s*\] (?P<message>.*?)\s*\[(?P<logger>[\w.]+)\]")
_PREFECT = re.compile(r"^[\d:.]+ \| (?P<level>\w+)\s*\| (?P<place>[^|]*? run '[^']+') - (?P<message>.*)$")
_TASK = re.compile(r"\[DAG TEST\] starting task_id=(?P<task>\S+)")


def airflow_line(line: str) -> str | None:
    """What of a line of Airflow's log is about our jobs; `None` for the rest."""
    if task := _TASK.search(line):
        return f"── {task['task']}"
    found = _AIRFLOW.match(line)
    if found and "airflow_provider" in found["logger"]:
        return f"   {found['message']}"
    return None


def prefect_line(line: str) -> str | None:
    """What of a line of Prefect's log is about our runs; `None` for the rest."""
    found = _PREFECT.match(line)
    if found is None or found["message"].startswith("Finished in state Completed"):
        return None
    return f"   {found['place'].split(' run ')[1]}: {found['message']}"


def run_child(command: Sequence[str], *, env: Mapping[str, str], log: Path, show: Show, limit: float) -> int:
    """Run a program in a process group of its own, to its end.

    Args:
        command: the program and its arguments.
        env: its whole environment.
        log: file that gets everything it says.
        show: what to show of a line, if anything.
        limit: seconds after which it is stopped.

    Returns:
        Its exit code.
    """
    began = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, *command],
        env=dict(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    signal.signal(signal.SIGALRM, lambda *_: _stop(child))
    signal.alarm(int(limit))
    try:
        assert child.stdout is not None
        with log.open("w", encoding="utf-8") as whole:
            for line in child.stdout:
                whole.write(line)
                if shown := show(line.rstrip()):
                    print(f"{time.monotonic() - began:6.1f}  {shown[:160]}", flush=True)
        return child.wait()
    finally:
        signal.alarm(0)
        _stop(child)


def _stop(child: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
