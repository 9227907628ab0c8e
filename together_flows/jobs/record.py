"""Job records: what is stored so that a retry finds the job that runs, and where it is stored.

The invariants that make "one job, one bill" hold:

- A record with phase `intent` is stored before a creation is sent. So a record in an earlier phase, or none, means
  that nothing was ever sent.
- The marker is drawn once, with the record, and travels inside the creation. So a row that carries it is this job.
- A record never holds a secret.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sqlite3
import threading
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from together_flows.jobs.model import JobReference, JobState, Spec

__all__ = [
    "JobRecord",
    "JobStore",
    "MemoryStore",
    "Phase",
    "SqliteStore",
    "TaskOutcome",
    "fingerprint",
    "marker_in",
    "new_marker",
]


#: Letters and digits that are not taken for one another.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_MARKER = re.compile(f"(?<![0-9A-Za-z])tf[{_ALPHABET}]{{10}}(?![0-9A-Za-z])")


class Phase(StrEnum):
    """How far a submission has come. A later phase implies that the earlier ones happened."""

    PREPARING = "preparing"  # the marker is drawn; files may be on their way; nothing that costs was sent
    INTENT = "intent"  # the creation may have been sent
    SUBMITTED = "submitted"  # the job's id is known
    WAITING = "waiting"  # the task gave up its process; something else watches the job
    ENDED = "ended"  # the task came to an end, and said how


class TaskOutcome(StrEnum):
    """The last word of the task that owns the record."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """What is known of a submission.

    Attributes:
        kind: job kind.
        fingerprint: of the inputs, see `fingerprint`.
        marker: short unique text that the creation carries.
        generation: how often a person had cleared the task when this was submitted.
        intent_at: when the submission began, in seconds since the epoch.
        phase: how far it has come.
        id: the job's id, from phase `submitted` on.
        facts: what `prepare` found out that is needed to find the job again, such as the id of its own input file.
        adopted_at: when a clear's new attempt took over the job of the attempt before; `None` if none did.
        estimated_usd: what the job was estimated to cost before it was submitted, in US dollars, where that was asked.
        outcome: the task's last word.
        job_state: the job's last known state.
    """

    kind: str
    fingerprint: str
    marker: str
    generation: int = 0
    intent_at: float
    phase: Phase = Phase.PREPARING
    id: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    adopted_at: float | None = None
    estimated_usd: float | None = None
    outcome: TaskOutcome | None = None
    job_state: JobState | None = None

    @property
    def reference(self) -> JobReference:
        """The job that was submitted. Only for records that have an id."""
        assert self.id is not None
        return JobReference(self.kind, self.id)

    def advanced(self, phase: Phase, **changes: Any) -> JobRecord:
        """The record in a later phase."""
        return replace(self, phase=phase, **changes)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data, without what is not set."""
        return {key: value for key, value in asdict(self).items() if value not in (None, {})}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> JobRecord:
        """Read what `to_dict` wrote, also when a newer version wrote more."""
        known = {f.name for f in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        for name, enum in (("phase", Phase), ("outcome", TaskOutcome), ("job_state", JobState)):
            if values.get(name) is not None:
                values[name] = enum(values[name])
        return cls(**values)


def new_marker() -> str:
    """A fresh marker: `tf` and 10 letters and digits, 50 random bits. Short, because a fine-tune's suffix holds it."""
    return "tf" + "".join(secrets.choice(_ALPHABET) for _ in range(10))


def marker_in(text: str) -> str:
    """The marker that a text carries, whoever drew it; empty if it carries none. Of several it is the last."""
    return next(reversed(_MARKER.findall(text)), "")


def fingerprint(kind: str, spec: Spec, *, ignored: Collection[str] = ()) -> str:
    """A digest of a job's inputs, the same for the same inputs.

    Secrets do not count, nor do `ignored` names at any depth, nor arguments that are `None` and so are not given.
    """
    given = {key: value for key, value in spec.items() if value is not None}
    text = json.dumps([kind, _visible(given, ignored)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _visible(value: Any, ignored: Collection[str]) -> Any:
    """What counts of a value, as plain JSON data that is the same in every process."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", exclude_none=True)
    match value:
        case SecretStr():
            return "**********"
        case Mapping():
            return {str(key): _visible(held, ignored) for key, held in value.items() if key not in ignored}
        case list() | tuple():
            return [_visible(held, ignored) for held in value]
        case set() | frozenset():
            return sorted(json.dumps(_visible(held, ignored), sort_keys=True) for held in value)
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)


class JobStore(Protocol):
    """Keeps job records. `save` returns only when the record would survive a crash."""

    def load(self, key: str) -> JobRecord | None:
        """The record kept under a key, or `None`."""

    def save(self, key: str, record: JobRecord) -> None:
        """Keep a record, in place of the one before."""


class MemoryStore:
    """Keeps records for as long as the process lives: for notebooks and tests."""

    def __init__(self) -> None:
        self.records: dict[str, JobRecord] = {}

    def load(self, key: str) -> JobRecord | None:
        """The record kept under a key, or `None`."""
        return self.records.get(key)

    def save(self, key: str, record: JobRecord) -> None:
        """Keep a record, in place of the one before."""
        self.records[key] = record


class SqliteStore:
    """Keeps records in an SQLite file; several processes may share it.

    Args:
        path: the file; it and its folder are made when missing.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        with self._lock, closing(self._open()) as database:
            database.execute("CREATE TABLE IF NOT EXISTS job_records (key TEXT PRIMARY KEY, record TEXT NOT NULL)")
            database.commit()

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=30)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        return database

    def load(self, key: str) -> JobRecord | None:
        """The record kept under a key, or `None`."""
        with self._lock, closing(self._open()) as database:
            found = database.execute("SELECT record FROM job_records WHERE key = ?", (key,)).fetchone()
        return JobRecord.from_dict(json.loads(found[0])) if found else None

    def save(self, key: str, record: JobRecord) -> None:
        """Keep a record, in place of the one before."""
        with self._lock, closing(self._open()) as database:
            database.execute(
                "INSERT INTO job_records VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET record = excluded.record",
                (key, json.dumps(record.to_dict())),
            )
            database.commit()

    def keys(self) -> list[str]:
        """All keys, sorted."""
        with self._lock, closing(self._open()) as database:
            return [key for (key,) in database.execute("SELECT key FROM job_records ORDER BY key")]
