"""What a user may choose about the jobs of a task, and what is no choice."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

from together_flows.errors import ArgumentInvalid

__all__ = ["OnClear", "OnKill", "OnUnknown", "check_choice"]

# Two of them are spelt out once more in `together_flows.jobs`, which a parse of a DAG file is not to import.
OnClear: TypeAlias = Literal["auto", "reattach", "rerun"]
OnUnknown: TypeAlias = Literal["fail", "create"]
OnKill: TypeAlias = Literal["end", "leave"]


def check_choice(task_id: str, name: str, chosen: object, choices: Any) -> None:
    """
    Refuse, where the DAG is read, a policy that there is not: taken for another, it could cost a job.

    :param choices: one of the types above.
    :raises ArgumentInvalid: it is none of the choices.
    """
    if chosen not in get_args(choices):
        told = ", ".join(map(repr, get_args(choices)))
        raise ArgumentInvalid(f"{name} of task {task_id} is {chosen!r}.", mend=f"Say one of {told}.")
