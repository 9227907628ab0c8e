"""Operations of a training session: passes over samples, optimizer steps, samplings and checkpoints.

A specification names the session by `session_id` and what to do by `operation`; the rest are the arguments of that. The
marker is the request's idempotency key: the API answers a repetition with the operation that the first request made, so
that a lost one needs no looking for. An operation is read by its session, its sort and its id, so the id holds all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from together_flows.api import Operation, rl
from together_flows.errors import ArgumentInvalid
from together_flows.jobs.kind import JobKind
from together_flows.jobs.manifest import small_part
from together_flows.jobs.model import JobState, Row, Spec
from together_flows.jobs.steps import Send

__all__ = ["KIND"]

_PREFIX = "TRAINING_OPERATION_STATUS_"
_ERROR_PREFIX = "TRAINING_OPERATION_ERROR_CODE_"
_LASTING = ("SESSION_NOT_ACTIVE", "INVALID_INPUT", "NON_FINITE_LOSS")


@dataclass(frozen=True)
class _Sort:
    """One sort of operation: what begins it, and what reads it."""

    create: Callable[..., Operation[Any]]
    read: Callable[[str, str], Operation[Any]]


_SORTS: Mapping[str, _Sort] = {
    "forward_backward": _Sort(rl.forward_backward, rl.retrieve_forward_backward),
    "optim_step": _Sort(rl.optim_step, rl.retrieve_optim_step),
    "sample": _Sort(rl.sample, rl.retrieve_sample),
    "inference_checkpoint": _Sort(rl.create_inference_checkpoint, rl.retrieve_inference_checkpoint),
    "training_checkpoint": _Sort(rl.create_training_checkpoint, rl.retrieve_training_checkpoint),
}


def _sort(name: Any) -> _Sort:
    if name not in _SORTS:
        raise ArgumentInvalid(f"{name!r} is not an operation of a session.", mend=f"Use one of {', '.join(_SORTS)}.")
    return _SORTS[name]


def _create(spec: Spec) -> Send:
    arguments = dict(spec)
    sort = _sort(arguments.pop("operation", None))
    return Send(sort.create(**arguments))


def _mark(spec: Spec, marker: str) -> Spec:
    """A key that the caller chose stays: whoever chooses one wants the operation that it names."""
    return {**spec, "idempotency_key": spec.get("idempotency_key") or marker}


def _whole_id(operation_id: str, spec: Spec) -> str:
    return "/".join(quote(str(part), safe="") for part in (spec["session_id"], spec["operation"], operation_id))


def _read(job_id: str) -> Operation[Any]:
    parts = [unquote(part) for part in job_id.split("/")]
    if len(parts) != 3 or not all(parts):
        raise ArgumentInvalid(
            f"{job_id!r} is not the id of an operation.",
            mend="Write it as session/operation/id, such as session-1/optim_step/op-1.",
        )
    session_id, name, operation_id = parts
    return _sort(name).read(session_id, operation_id)


def _error_code(row: Row) -> str:
    return str((row.get("error") or {}).get("code") or "").removeprefix(_ERROR_PREFIX)


def _failure(row: Row) -> str:
    message = (row.get("error") or {}).get("message")
    return ": ".join(str(part) for part in (_error_code(row), message) if part)


def _manifest(row: Row) -> dict[str, Any]:
    return {"id": row["id"], **small_part("output", row.get("output") or {})}


KIND = JobKind(
    name="rl_operation",
    noun="training operation",
    states={
        "pending": JobState.QUEUED,
        "running": JobState.RUNNING,
        "completed": JobState.SUCCEEDED,
        "failed": JobState.FAILED,
    },
    create=_create,
    read=_read,
    new_id=lambda answer: str(answer.id),
    whole_id=_whole_id,
    raw_status=lambda row: str(row["status"]).removeprefix(_PREFIX),
    failure=_failure,
    lasting=lambda row: _error_code(row) in _LASTING,
    mark=_mark,
    repeatable=True,
    end_note="The API has no call that cancels an operation; it ends by itself.",
    manifest=_manifest,
)
