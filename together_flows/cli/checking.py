"""Checking a dataset from the command line."""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

from together_flows.cli.console import print_json, print_line, say
from together_flows.datasets import validate
from together_flows.datasets.report import Purpose

__all__ = ["check_dataset"]


def check_dataset(path: str, purpose: str, *, as_json: bool) -> bool:
    """Print what a check has found, and answer whether the file is fine.

    Raises:
        ArgumentInvalid: there is no such file.
    """
    report = validate(path, purpose=cast(Purpose, purpose))
    if as_json:
        print_json({"ok": report.ok, **asdict(report)})
        return report.ok
    for problem in report.problems:
        print_line(str(problem))
    if report.ok:
        print_line(
            f"{report.rows} rows, {report.bytes} bytes, format {report.format}, "
            f"about {report.approximate_tokens} tokens. SHA-256 {report.sha256}"
        )
    else:
        say(f"{report.problem_count} problem(s) in {report.rows} row(s).", "error")
    return report.ok
