"""Submit once: one job for one intention, whatever dies in between.

`decide` is the whole of the policy: fed with the record of the attempt before, it says whether to adopt its job, to
look for it, or to submit a new one. `submission` carries the decision out as a flow of steps.

The invariants:

- A creation is sent only after a record in phase `intent` is stored, and its marker is in the request.
- A creation whose answer was lost is sent again only after the job was looked for, for longer than the API takes to
  show a new job, and was not there.
- An old job that is not adopted is ended before a new one is submitted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from together_flows.errors import SubmissionUnknown, TogetherError
from together_flows.jobs.ending import CONFIRM_SECONDS, end_job, look
from together_flows.jobs.finding import can_find, find, look_for
from together_flows.jobs.kind import JobKind, Prepared, kind_named
from together_flows.jobs.model import JobReference, JobState, JobStatus, Spec
from together_flows.jobs.record import JobRecord, JobStore, Phase, TaskOutcome, new_marker
from together_flows.jobs.steps import Load, Log, Logger, Now, Save, Steps, arun, run
from together_flows.policies import OnClear, OnUnknown

if TYPE_CHECKING:
    from together_flows.client import AsyncTogether, Together

__all__ = [
    "KILL_WINDOW",
    "Adopt",
    "Create",
    "LookFor",
    "Resume",
    "SubmissionPolicy",
    "abandonment",
    "asubmit_once",
    "decide",
    "killed_by_the_clear",
    "submission",
    "submit_once",
    "submits_new",
]


@dataclass(frozen=True)
class SubmissionPolicy:
    """The caller's wishes.

    Attributes:
        generation: how often a person has cleared the task; a retry leaves it, a clear raises it.
        on_clear: `"auto"` adopts the job of a task that failed and starts again after one that succeeded or was still
            waiting; `"reattach"` always adopts; `"rerun"` always starts again.
        on_unknown: what to do where a lost job cannot be looked for: `"fail"`, or `"create"` and perhaps pay twice.
        settle: seconds after a lost answer within which a created job must show up in the list.
        replace: start again, whatever the record says.
        keep_ended: a job that has ended without success is adopted all the same, because what it left is still of use.
        estimated_usd: what a new job is estimated to cost, in US dollars, to be kept with its record.
    """

    generation: int = 0
    on_clear: OnClear = "auto"
    on_unknown: OnUnknown = "fail"
    settle: float = 30.0
    replace: bool = False
    keep_ended: bool = False
    estimated_usd: float | None = None


@dataclass(frozen=True)
class Create:
    """Submit a new job, after ending the old one."""

    ends: str | None = None
    why: str = ""


@dataclass(frozen=True)
class Resume:
    """Nothing was sent yet: go on with the same marker."""


@dataclass(frozen=True)
class LookFor:
    """A job may have been created; find it by its marker."""

    then_end: bool = False


@dataclass(frozen=True)
class Adopt:
    """The job of the attempt before is this attempt's job."""

    across_clear: bool = False


Decision: TypeAlias = Create | Resume | LookFor | Adopt

_DEAD = (JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)
_CREATIONS = 3

#: Seconds after a clear's new attempt adopted a job within which the old attempt's kill may still reach that job.
KILL_WINDOW = 120.0


def decide(record: JobRecord | None, inputs: str, policy: SubmissionPolicy) -> Decision:
    """What to do about the attempt before.

    Args:
        record: what the attempt before left; `None` if there was none.
        inputs: fingerprint of this attempt's inputs.
        policy: the caller's wishes.
    """
    if record is None:
        return Create()
    if record.phase is Phase.PREPARING:
        return Resume() if record.fingerprint == inputs else Create()
    again = _why_again(record, inputs, policy)
    if record.phase is Phase.INTENT:
        return LookFor(then_end=bool(again))
    if again:
        return Create(ends=record.id, why=again)
    if record.job_state in _DEAD and not policy.keep_ended:
        # One that was told to end may not have: it is told once more, which does no harm.
        ends = record.id if record.job_state is JobState.CANCELLED else None
        return Create(ends, why=f"the job before ended as {record.job_state}")
    return Adopt(across_clear=policy.generation > record.generation)


def submits_new(record: JobRecord | None, inputs: str, policy: SubmissionPolicy) -> bool:
    """Whether a new job will be paid for, as far as the record tells. One that runs already is not held to a budget.

    Args:
        record: what the attempt before left; `None` if there was none.
        inputs: fingerprint of this attempt's inputs.
        policy: the caller's wishes.
    """
    return isinstance(decide(record, inputs, policy), Create | Resume)


def _why_again(record: JobRecord, inputs: str, policy: SubmissionPolicy) -> str:
    """Why the job before must not be adopted; empty if it may be."""
    if policy.replace:
        return "the job before is to be replaced"
    if record.fingerprint != inputs:
        return "the inputs have changed"
    if _is_rerun(record, policy):
        return "the task was cleared"
    if policy.generation <= record.generation or policy.on_clear == "reattach":
        return ""
    if record.outcome is TaskOutcome.SUCCEEDED:
        return "the task was cleared after it had succeeded"
    if record.phase is Phase.WAITING:
        return "the task was cleared while it was waiting"
    return ""


def _is_rerun(record: JobRecord, policy: SubmissionPolicy) -> bool:
    """Whether a person has cleared the task since, and wants a new job whatever became of the one before."""
    return policy.on_clear == "rerun" and policy.generation > record.generation


def killed_by_the_clear(record: JobRecord, cancelled_at: float) -> bool:
    """Whether a cancelled job was hit by the kill of the attempt it was adopted from, so that it is still wanted.

    A clear kills the old attempt, yet the new one may start first and adopt the job that the kill is about to reach.
    """
    return record.adopted_at is not None and cancelled_at - record.adopted_at <= KILL_WINDOW


def submission(kind: JobKind, spec: Spec, policy: SubmissionPolicy) -> Steps[JobRecord]:
    """Steps that leave exactly one job for this specification, and answer with its record in phase `submitted`."""
    inputs = kind.fingerprint(spec)
    record: JobRecord | None = yield Load()
    decision = decide(record, inputs, policy)
    if isinstance(decision, Adopt):
        assert record is not None
        instead = yield from _instead_of_adopting(kind, record, decision, policy)
        if instead is None:
            return (yield from _adopt(record, policy, decision))
        decision = instead
    if isinstance(decision, LookFor):
        assert record is not None
        same = record.fingerprint == inputs  # otherwise this specification says nothing of the job that was lost
        found = yield from _look_for(kind, record, spec if same else {}, policy)
        if found and not decision.then_end:
            yield Log(f"{kind.name}:{found} was submitted by an attempt before whose answer was lost; adopted.", "info")
            moment: float = yield Now()
            across_clear = policy.generation > record.generation  # the kill of the attempt before may reach it yet
            known = replace(record, adopted_at=moment) if across_clear else record
            return (yield from _submitted(known, found, policy))
        if found:
            yield from end_job(kind, found)
        if not decision.then_end:
            return (yield from _create(kind, spec, record, policy))
    if isinstance(decision, Create) and decision.ends:
        yield Log(f"Submitting again, because {decision.why}. {kind.name}:{decision.ends} is ended first.", "info")
        yield from end_job(kind, decision.ends)
    elif isinstance(decision, Create) and decision.why:
        yield Log(f"Submitting again, because {decision.why}.", "info")
    if not isinstance(decision, Resume) or record is None:
        now: float = yield Now()
        record = JobRecord(
            kind=kind.name, fingerprint=inputs, marker=new_marker(), generation=policy.generation, intent_at=now
        )
        if kind.prepare:
            yield Save(record)
    return (yield from _create(kind, spec, record, policy))


def _look_for(kind: JobKind, record: JobRecord, spec: Spec, policy: SubmissionPolicy) -> Steps[str | None]:
    may_pay_twice = policy.on_unknown == "create" or _is_rerun(record, policy)
    return (yield from look_for(kind, record, spec, settle=policy.settle, may_pay_twice=may_pay_twice))


def _instead_of_adopting(
    kind: JobKind, record: JobRecord, decision: Adopt, policy: SubmissionPolicy
) -> Steps[Create | None]:
    """What to do because the recorded job is of no use any more; `None` while it is."""
    status = yield from look(kind, record.reference.id)
    if status is None:
        return Create(why=f"{record.reference} does not exist any more")
    if policy.keep_ended and status.state.is_final:
        return None
    ends = None if status.state in kind.over else record.id
    if status.state in (JobState.FAILED, JobState.EXPIRED):
        return Create(ends, why=f"{record.reference} has ended as {status.raw}")
    if status.state is JobState.CANCELLED and kind.bills_until_stopped:
        return Create(ends, why=f"{record.reference} was stopped, perhaps because nobody used it")
    if status.state is JobState.CANCELLED and decision.across_clear:
        return Create(ends, why=f"{record.reference} was cancelled before the task was cleared")
    return None


def _adopt(record: JobRecord, policy: SubmissionPolicy, decision: Adopt) -> Steps[JobRecord]:
    yield Log(f"{record.reference} runs already for this task; adopted.", "info")
    if not decision.across_clear:
        return record
    now: float = yield Now()
    adopted = replace(record, generation=policy.generation, adopted_at=now, phase=Phase.SUBMITTED, outcome=None)
    yield Save(adopted)
    return adopted


def _create(kind: JobKind, spec: Spec, record: JobRecord, policy: SubmissionPolicy) -> Steps[JobRecord]:
    lost = record.phase is Phase.INTENT
    prepared = Prepared(spec, {})
    if kind.prepare:
        prepared = yield from kind.prepare(spec, record.marker)
    now: float = yield Now()
    record = record.advanced(
        Phase.INTENT,
        facts=prepared.facts,
        intent_at=now,
        generation=policy.generation,
        estimated_usd=policy.estimated_usd,
    )
    step = kind.create(kind.mark(prepared.spec, record.marker))
    yield Save(record)
    for _ in range(_CREATIONS):
        try:
            answer = yield step
        except SubmissionUnknown as unknown:
            yield Log(f"The answer to a submission was lost; the job is looked for. {unknown.message}", "warning")
            lost = True
            found = yield from _look_for(kind, record, spec, policy)
        except TogetherError:
            found = (yield from _find_again(kind, record, spec)) if lost else None
            if not found:
                # Refused for certain means that nothing was created, unless a creation before this one may have been.
                yield Save(record if lost else replace(record, phase=Phase.PREPARING))
                raise
        else:
            found = kind.whole_id(kind.new_id(answer), spec)
            if lost:  # the creation before may have taken effect late, and one of the two is then too many
                yield from _find_again(kind, record, spec, keep=found)
        if found:
            return (yield from _submitted(record, found, policy))
    raise SubmissionUnknown(
        f"The answer to the creation of a {kind.noun} was lost {_CREATIONS} times, and no job is to be found.",
        mend="A retry of the task looks for it again before it submits anything.",
        retryable=True,
    )


def _find_again(kind: JobKind, record: JobRecord, spec: Spec, *, keep: str | None = None) -> Steps[str | None]:
    if kind.repeatable or not can_find(kind, record):
        return None
    return (yield from find(kind, record, spec, keep=keep))


def _submitted(record: JobRecord, job_id: str, policy: SubmissionPolicy) -> Steps[JobRecord]:
    submitted = record.advanced(Phase.SUBMITTED, id=job_id, generation=policy.generation)
    yield Save(submitted)
    yield Log(f"{JobReference(record.kind, job_id)} is submitted.", "info")
    return submitted


def abandonment(
    kind: JobKind, record: JobRecord, *, settle: float = SubmissionPolicy.settle, patience: float = CONFIRM_SECONDS
) -> Steps[JobStatus | None]:
    """Steps that end whatever came of a submission that nobody wants any more, also when its answer was lost.

    The stored record learns that the job was ended. Answers the last status seen, or `None` if there is no job, or none
    that could be told from others.

    Args:
        kind: the record's kind.
        record: what the submission left.
        settle: seconds within which a created job must show up in the list.
        patience: seconds to look for the end.
    """
    job_id = record.id
    is_lost = job_id is None and record.phase is Phase.INTENT and not kind.repeatable
    if is_lost:
        if not can_find(kind, record):
            yield Log(f"A {kind.noun} may have been created, and the API offers nothing to find it by.", "warning")
            return None
        heir = yield from _taken_over(record)
        if heir is None:
            job_id = yield from look_for(kind, record, {}, settle=settle, ends_others=False)
            heir = yield from _taken_over(record)
        if heir is not None:
            yield Log(f"The {kind.noun} is left to the attempt after a clear, which looks for it as well.", "info")
            if heir.id is not None:  # another with the same marker came too late for that attempt to see it
                yield from find(kind, record, {}, keep=heir.id)
            return None
    if job_id is None:
        return None
    last = yield from end_job(kind, job_id, patience=patience)
    if kind.end is None:
        return last  # it goes on, so that a later attempt can still adopt it
    ended = last.state if last.state.is_final else JobState.CANCELLED
    kept: JobRecord = (yield Load()) or record
    if kept.id == job_id or kept == record:  # otherwise it is of another job, which a later attempt has submitted
        told = kept.advanced(Phase.ENDED, id=job_id, outcome=TaskOutcome.FAILED, job_state=ended)
        yield Save(told, instead_of=kept)
    if is_lost and (kept.id is None or kept.id == job_id):
        yield from find(kind, record, {}, keep=job_id)  # ends the others with its marker
    return last


def _taken_over(record: JobRecord) -> Steps[JobRecord | None]:
    """The record as the attempt after a clear has taken it over, if one has."""
    now: JobRecord | None = yield Load()
    return now if now and now.marker == record.marker and now.generation > record.generation else None


def submit_once(
    client: Together,
    kind: str,
    spec: Spec,
    *,
    store: JobStore,
    key: str,
    policy: SubmissionPolicy = SubmissionPolicy(),
    log: Logger | None = None,
) -> JobRecord:
    """Submit a job, or adopt the one that an earlier attempt under the same key submitted.

    Args:
        client: sends the operations.
        kind: name of the job kind, such as `"fine_tune"`.
        spec: arguments of the kind's creation, as plain data.
        store: keeps the job record.
        key: names the intention: the same key means the same wanted job.
        policy: the caller's wishes.
        log: called with a message and a level.

    Raises:
        SubmissionUnknown: a job may have been created and cannot be found again.
        ApiError: the API refused the job; nothing was created.
    """
    return run(submission(kind_named(kind), spec, policy), client=client, store=store, key=key, log=log)


async def asubmit_once(
    client: AsyncTogether,
    kind: str,
    spec: Spec,
    *,
    store: JobStore,
    key: str,
    policy: SubmissionPolicy = SubmissionPolicy(),
    log: Logger | None = None,
) -> JobRecord:
    """The same as `submit_once`, on the event loop."""
    return await arun(submission(kind_named(kind), spec, policy), client=client, store=store, key=key, log=log)
