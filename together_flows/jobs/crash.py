"""Named points at which a test can kill the process, to show that no crash bills twice.

`TOGETHER_FLOWS_CRASH_AT` names a point, such as `after:send:batches.create` or `before:save:submitted`; the process
gets SIGKILL when it reaches it. `TOGETHER_FLOWS_CRASH_ONCE` names a file that is created first, and a process that
finds it there goes on, so that the retry survives. Both are set by tests only; unset, a point costs one look-up.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from together_flows.jobs.steps import Step

_AT = "TOGETHER_FLOWS_CRASH_AT"
_ONCE = "TOGETHER_FLOWS_CRASH_ONCE"


def reach(step: Step, side: str) -> None:
    """Die here if a test asked for it. `side` is `"before"` or `"after"` the step."""
    if _AT in os.environ:
        crash_at(f"{side}:{_name(step)}")


def crash_at(point: str) -> None:
    """Die here if a test asked for it, at a point that is no step of a flow."""
    if os.environ.get(_AT) != point:
        return
    if once := os.environ.get(_ONCE):
        try:
            Path(once).touch(exist_ok=False)
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)


def _name(step: Step) -> str:
    kind = type(step).__name__.lower()
    operation = getattr(step, "operation", None)
    record = getattr(step, "record", None)
    if operation is not None:
        return f"{kind}:{operation.name}"
    if record is not None:
        return f"{kind}:{record.phase}"
    return kind
