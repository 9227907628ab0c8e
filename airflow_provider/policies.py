"""Refusing a choice that there is not."""

from __future__ import annotations

from typing import Any, get_args

from together_flows.errors import ArgumentInvalid

__all__ = ["check_choice"]


def check_choice(task_id: str, name: str, chosen: object, choices: Any) -> None:
    """
    Refuse, where the DAG is read, a policy that there is not: taken for another, it could cost a job.

    :param choices: the type that spells them out, see `together_flows.policies`.
    :raises ArgumentInvalid: it is none of the choices.
    """
    if chosen not in get_args(choices):
        told = ", ".join(map(repr, get_args(choices)))
        raise ArgumentInvalid(f"{name} of task {task_id} is {chosen!r}.", mend=f"Say one of {told}.")
