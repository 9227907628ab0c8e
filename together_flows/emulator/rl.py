"""Reinforcement learning: sessions that hold a policy, and the operations that work on it one after another.

An operation is computed when it is submitted, and shown when the clock says that it is through. What a session has
learned is what its last operation left behind, so that one stored record is the whole truth after a crash.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from together_flows.emulator.catalogue import base_model
from together_flows.emulator.jobs import Job, JobKind, Stage
from together_flows.emulator.policy import Policy
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.rl_losses import Failure
from together_flows.emulator.world import ACCOUNT, World

__all__ = [
    "OPERATIONS",
    "SESSIONS",
    "Checkpoint",
    "Computed",
    "Operation",
    "Session",
    "checkpoints",
    "find_checkpoint",
    "latest_policy",
    "new_checkpoint",
    "new_operation",
    "new_session",
    "operations_of",
    "policy_path",
    "stop",
]

CREATING_SECONDS, STOPPING_SECONDS = 30.0, 10.0

IDLE_SECONDS = 24 * 3600.0
"""A session that nobody uses for so long expires."""

WORK_SECONDS = {
    "forward-backward": 3.0,
    "optim-step": 1.0,
    "sample": 4.0,
    "inference-checkpoint": 20.0,
    "training-checkpoint": 10.0,
}
"""How long each type of operation takes, by its name in paths."""

_SESSION, _OPERATION = "TRAINING_SESSION_STATUS_", "TRAINING_OPERATION_STATUS_"


class Session(Job, kw_only=True):
    """A session.

    Attributes:
        resumed_from: the checkpoint that it began with; empty for none.
        first_step: the optimiser step of that checkpoint.
        last_used: when the last operation was submitted.
    """

    base_model: str
    lora: dict[str, float]
    resumed_from: str
    first_step: int
    last_used: float

    def stage(self, now: float) -> Stage:
        last = self.stages[-1]
        idle_at = max(self.last_used, last.at) + IDLE_SECONDS
        if last.status == f"{_SESSION}RUNNING" and idle_at <= now:
            self.stages.append(Stage(f"{_SESSION}EXPIRED", idle_at))
        return super().stage(now)


class Checkpoint(msgspec.Struct, kw_only=True):
    """A checkpoint.

    Attributes:
        model_name: the name it is registered under; empty for one to go on training from.
    """

    id: str
    step: int
    model_name: str = ""


class Computed(msgspec.Struct, kw_only=True):
    """What an operation came to.

    Attributes:
        output: as the API shows it.
        policy: the policy as it is now; None when it is what it was.
        failure: the error code; empty when all went well.
        words: the error's message.
    """

    output: dict[str, Any] = {}
    policy: Policy | None = None
    checkpoint: Checkpoint | None = None
    failure: str = ""
    words: str = ""

    @classmethod
    def failed(cls, failure: Failure) -> Computed:
        return cls(failure=failure.code, words=failure.message)


class Operation(Job, kw_only=True):
    """An operation.

    Attributes:
        type: its name in paths.
        idempotency_key: the client's name of the request; empty for none.
        policy: the file of the session's policy after it; empty for the one the session began with.
        failure: the error code, if it is bound to fail.
    """

    session_id: str
    type: str
    idempotency_key: str
    output: dict[str, Any]
    policy: str
    checkpoint: Checkpoint | None = None
    failure: str = ""


class _Sessions(JobKind[Session]):
    name = "rl_session"
    noun = "Training session"
    active = frozenset({f"{_SESSION}CREATING", f"{_SESSION}RUNNING"})
    failure = f"{_SESSION}ERROR"
    record = Session

    def row(self, world: World, job: Session, now: float) -> dict[str, Any]:
        stage = job.stage(now)
        through = [op for op in operations_of(world, job) if op.status(now) == f"{_OPERATION}COMPLETED"]
        steps = sum(operation.type == "optim-step" for operation in through)
        row: dict[str, Any] = {
            "id": job.id,
            "status": stage.status,
            "base_model": job.base_model,
            "step": str(job.first_step + steps),
            "lora_config": job.lora,
            "created_at": world.clock.iso(job.created),
            "updated_at": world.clock.iso(max([stage.at, *(operation.stages[-1].at for operation in through)])),
            "inference_checkpoints": [
                _inference_checkpoint(world, operation) for operation in through if _registers(operation)
            ],
            "training_checkpoints": [
                _plain_checkpoint(world, operation)
                for operation in through
                if operation.checkpoint and not _registers(operation)
            ],
        }
        return row | {"resume_from_checkpoint_id": job.resumed_from} if job.resumed_from else row

    def ended_early(self, world: World, job: Session, now: float) -> None:
        _fail_waiting(world, job, now)


class _Operations(JobKind[Operation]):
    name = "rl_operation"
    noun = "Operation"
    active = frozenset({f"{_OPERATION}PENDING", f"{_OPERATION}RUNNING"})
    failure = f"{_OPERATION}FAILED"
    record = Operation

    def key(self, job: Operation) -> str:
        """By its session, so that a session finds its last operation."""
        return job.session_id

    def row(self, world: World, job: Operation, now: float) -> dict[str, Any]:
        status = job.status(now)
        row: dict[str, Any] = {"id": job.id, "status": status}
        if status == f"{_OPERATION}COMPLETED":
            row["output"] = job.output
        if status == self.failure:
            code = job.failure or "TRAINING_OPERATION_ERROR_CODE_INTERNAL_ERROR"
            row["error"] = {"code": code, "message": job.error or "The operation failed."}
        return row

    def fields(self, world: World, job: Operation, now: float) -> dict[str, Any]:
        return {"session_id": job.session_id, "type": job.type}


SESSIONS = _Sessions()
OPERATIONS = _Operations()


def new_session(world: World, *, base_model: str, lora: dict[str, float], resumed: Checkpoint | None) -> Session:
    """A new session on its way up."""
    born = world.born()
    running = born.created + CREATING_SECONDS
    return Session(
        id=str(uuid.uuid4()),
        created=born.created,
        visible=born.visible,
        stages=[Stage(f"{_SESSION}CREATING", born.created), Stage(f"{_SESSION}RUNNING", running)],
        base_model=base_model,
        lora=lora,
        resumed_from=resumed.id if resumed else "",
        first_step=resumed.step if resumed else 0,
        last_used=running,
    )


def new_operation(world: World, session: Session, type: str, computed: Computed, idempotency_key: str) -> Operation:
    """An operation whose outcome is known; it is through when those before it are, and its own time has passed."""
    born = world.born()
    before = world.table(OPERATIONS).find_by_key(session.id)
    free = max(born.created, before.stages[-1].at if before else (session.entered(f"{_SESSION}RUNNING") or 0.0))
    end = "FAILED" if computed.failure else "COMPLETED"
    operation = Operation(
        id=str(uuid.uuid4()),
        created=born.created,
        visible=born.visible,
        stages=[
            Stage(f"{_OPERATION}PENDING", born.created),
            Stage(f"{_OPERATION}RUNNING", free),
            Stage(f"{_OPERATION}{end}", free + WORK_SECONDS[type]),
        ],
        session_id=session.id,
        type=type,
        idempotency_key=idempotency_key,
        output=computed.output,
        policy=before.policy if before else "",
        checkpoint=computed.checkpoint,
        failure=computed.failure,
        error=computed.words,
    )
    if computed.policy is not None:
        operation.policy = operation.id
        policy_path(world, operation.id).write_bytes(msgspec.msgpack.encode(computed.policy))
    world.table(OPERATIONS).add(operation)
    if before is not None and before.policy not in ("", operation.policy):
        policy_path(world, before.policy).unlink(missing_ok=True)
    session.last_used = born.created
    world.table(SESSIONS).save(session)
    return operation


def stop(world: World, session: Session) -> None:
    """Stops a session; what still waited in it fails."""
    now = world.clock.now()
    session.turn(f"{_SESSION}STOPPING", now)
    session.stages.append(Stage(f"{_SESSION}STOPPED", now + STOPPING_SECONDS))
    world.table(SESSIONS).save(session)
    world.table(SESSIONS).count_cancelled()
    _fail_waiting(world, session, now)


def operations_of(world: World, session: Session) -> Iterator[Operation]:
    """The session's operations, newest first."""
    return (operation for operation in world.table(OPERATIONS) if operation.session_id == session.id)


def latest_policy(world: World, session: Session) -> Policy:
    """What the session has learned so far."""
    last = world.table(OPERATIONS).find_by_key(session.id)
    name = last.policy if last is not None and last.policy else session.resumed_from
    return msgspec.msgpack.decode(policy_path(world, name).read_bytes(), type=Policy) if name else Policy()


def policy_path(world: World, name: str) -> Path:
    """Where a policy lies, by the operation or the checkpoint that it belongs to."""
    return world.path("policies", name)


def checkpoints(world: World) -> Iterator[Operation]:
    """The operations that have made a checkpoint, newest first."""
    now = world.clock.now()
    made = (operation for operation in world.table(OPERATIONS) if operation.checkpoint is not None)
    return (operation for operation in made if operation.status(now) == f"{_OPERATION}COMPLETED")


def find_checkpoint(world: World, checkpoint_id: str) -> Checkpoint:
    """The checkpoint of this id.

    Raises:
        Refusal: 404, there is none.
    """
    for operation in checkpoints(world):
        if operation.checkpoint and operation.checkpoint.id == checkpoint_id:
            return operation.checkpoint
    raise Refusal(404, f"Checkpoint not found: {checkpoint_id}")


def new_checkpoint(world: World, session: Session, policy: Policy, *, registered: bool) -> Checkpoint:
    """Saves the policy as a checkpoint; a registered one has the name of a model."""
    identity = str(uuid.uuid4())
    policy_path(world, identity).write_bytes(msgspec.msgpack.encode(policy))
    known = base_model(session.base_model)
    name = f"{ACCOUNT}/{known.short_name if known else 'model'}-rl-step-{policy.step}-{identity[:8]}"
    return Checkpoint(id=identity, step=policy.step, model_name=name if registered else "")


def _fail_waiting(world: World, session: Session, now: float) -> None:
    table = world.table(OPERATIONS)
    for operation in list(operations_of(world, session)):
        if operation.status(now) in OPERATIONS.active:
            operation.failure = "TRAINING_OPERATION_ERROR_CODE_SESSION_NOT_ACTIVE"
            table.end(operation, OPERATIONS.failure, error="The training session is not active any more.")


def _registers(operation: Operation) -> bool:
    return operation.checkpoint is not None and bool(operation.checkpoint.model_name)


def _plain_checkpoint(world: World, operation: Operation) -> dict[str, Any]:
    checkpoint = operation.checkpoint
    assert checkpoint is not None
    return {
        "id": checkpoint.id,
        "step": str(checkpoint.step),
        "created_at": world.clock.iso(operation.stages[-1].at),
    }


def _inference_checkpoint(world: World, operation: Operation) -> dict[str, Any]:
    shown = _plain_checkpoint(world, operation)
    name = operation.checkpoint.model_name if operation.checkpoint else ""
    return shown | {"registration": {"model_name": name, "registered_at": shown["created_at"]}}
