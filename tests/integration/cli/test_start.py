"""What the command costs before it does anything, and how it behaves in a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys

HEAVY = {"httpx2", "pydantic", "rich", "msgspec", "tenacity", "fastapi", "together_flows.client", "together_flows.api"}


def in_a_process(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_help_loads_nothing_that_only_the_commands_need() -> None:
    code = (
        "import sys, json\nfrom together_flows.cli.app import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    shown = in_a_process("-c", code)

    assert "Together AI's jobs" in shown.stdout
    assert set(json.loads(shown.stderr)) & HEAVY == set()


def test_every_command_explains_itself() -> None:
    from .conftest import run_command

    listed = run_command("--help").out
    for command in ("emulator", "validate", "operations", "call", "upload", "wait", "end", "batch"):
        assert f"  {command} " in listed
        assert "Usage:" in run_command(command, "--help").out


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    script = f"{sys.executable} -m together_flows.cli operations | head -1"
    shown = in_a_process("-c", f"import subprocess; subprocess.run({script!r}, shell=True, check=True)")

    assert shown.stdout.startswith("deployments.list")
    assert "Traceback" not in shown.stderr
    assert "BrokenPipe" not in shown.stderr
