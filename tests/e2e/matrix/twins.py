"""What each of two processes does that want the same job at the same moment."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from together_flows import Together
from together_flows.jobs import SqliteStore, SubmissionPolicy, WaitPolicy, conclude, kind_named, run, submit_once
from together_flows.jobs.waiting import waiting

_START_WITHIN = 60.0

_together: Barrier


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A job that a task wants.

    Attributes:
        key: the task.
        content: a local file with the job's data.
        purpose: for what it is uploaded, if it is not the job that uploads it.
        takes: the argument by which the job takes the file, or its id.
        spec: the other arguments.
    """

    key: str
    kind: str
    content: Path
    takes: str
    spec: dict[str, Any]
    purpose: str = ""


def meet(barrier: Barrier) -> None:
    """Note where the two processes wait for each other."""
    global _together
    _together = barrier


def fulfil(wish: Wish, *, url: str, api_key: str, records: Path) -> dict[str, Any]:
    """Upload, submit, wait and conclude, from the same moment on as the other process; answer with the manifest."""
    store = SqliteStore(records)
    with Together(api_key=api_key, base_url=url) as client:
        kind = kind_named(wish.kind)
        _together.wait(_START_WITHIN)
        data: str | Path = wish.content
        if wish.purpose:
            data = client.upload(wish.content, purpose=wish.purpose).id
        spec = {**wish.spec, wish.takes: str(data)}
        policy = SubmissionPolicy(settle=3.0)
        record = submit_once(client, wish.kind, spec, store=store, key=wish.key, policy=policy)
        outcome = run(waiting(kind, record.reference.id, WaitPolicy(interval=0.2, first=0.1)), client=client)
        manifest = conclude(kind, record.reference, outcome)
        return {**run(manifest, client=client, store=store, key=wish.key), "input": str(data)}
