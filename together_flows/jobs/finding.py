"""Finding the job whose creation's answer was lost: by the marker that it carries."""

from __future__ import annotations

from together_flows.errors import NotFound, SubmissionUnknown
from together_flows.jobs.ending import end_job
from together_flows.jobs.kind import JobKind
from together_flows.jobs.model import Row, Spec
from together_flows.jobs.record import JobRecord
from together_flows.jobs.steps import Elapsed, Log, Send, Sleep, Steps

__all__ = ["can_find", "find", "look_for"]


def can_find(kind: JobKind, record: JobRecord) -> bool:
    """Whether a lost job of this kind can be told from others by what its record holds."""
    return kind.carries is not None and kind.list_all is not None and (bool(record.facts) or not kind.needs_facts)


def look_for(
    kind: JobKind,
    record: JobRecord,
    spec: Spec,
    *,
    settle: float,
    may_pay_twice: bool = False,
    ends_others: bool = True,
) -> Steps[str | None]:
    """Steps that look for a job until a list must show it; answer with its id, or `None` if there certainly is none.

    Args:
        kind: the record's kind.
        record: what the submission left, in phase `intent`.
        spec: its specification, or what is known of it.
        settle: seconds within which a created job must show up in the list.
        may_pay_twice: whether a job that cannot be found counts as none.
        ends_others: whether all but one are ended, if there are more.

    Raises:
        SubmissionUnknown: there may be a job, and it cannot be told from others.
    """
    if kind.repeatable:
        return None
    if not can_find(kind, record):
        if may_pay_twice:
            return None
        raise SubmissionUnknown(
            f"A {kind.noun} may have been created at {record.intent_at:.0f} (seconds since the epoch), its answer is "
            "lost, and the API offers nothing to find it by.",
            mend="Look for it on Together's site, and clear the task with on_clear='rerun' or on_unknown='create'.",
        )
    began: float = yield Elapsed()
    pause = 1.0
    while True:
        # Only a look that begins late enough proves that there is none; a slow one may show how things were before.
        # The age of the record is no reason to look less: its moment comes from another machine's clock.
        asked: float = yield Elapsed()
        found = yield from find(kind, record, spec, ends_others=ends_others)
        if found:
            return found
        if asked - began >= settle:
            return None
        yield Sleep(min(pause, settle))
        pause *= 1.6


def find(
    kind: JobKind, record: JobRecord, spec: Spec, *, keep: str | None = None, ends_others: bool = True
) -> Steps[str | None]:
    """Steps that look once; answer with the id of the job that carries the record's marker, or `None`.

    Args:
        kind: the record's kind.
        record: what the submission left.
        spec: its specification.
        keep: the one to keep, where its id is known. It may not show in the list yet.
        ends_others: whether all but one are ended, if there are more.
    """
    assert kind.carries is not None
    found: list[str] = []
    for job_id, row in (yield from _candidates(kind, record)).items():
        full: Row = row
        if kind.marker_in_full_row:
            if not kind.candidate(row, spec):
                continue
            try:
                full = yield Send(kind.read(job_id).untyped())
            except NotFound:
                continue
        if kind.carries(full, record.marker, record.facts):
            found.append(job_id)
    keep = keep or next(iter(found), None)
    for extra in found:
        if ends_others and extra != keep:
            yield Log(f"{kind.name}:{extra} carries the same marker as {keep}; it is ended.", "warning")
            yield from end_job(kind, extra)
    return keep


def _candidates(kind: JobKind, record: JobRecord) -> Steps[dict[str, Row]]:
    """The jobs among which a lost one is, by id."""
    if kind.read_named:
        try:
            row = yield Send(kind.read_named(record.facts).untyped())
        except NotFound:
            return {}
        return {kind.status(row).reference.id: row}
    assert kind.list_all is not None
    return kind.jobs_in((yield Send(kind.list_all().untyped())))
