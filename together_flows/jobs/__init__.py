"""Long-running work: submit once, watch, end. Knows neither Airflow nor Prefect.

The names below are loaded when first used, so that a module that only mentions them stays cheap to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from together_flows.jobs.closing_words import last_words, last_words_without_record, with_last_words
    from together_flows.jobs.ending import end_job
    from together_flows.jobs.kind import KINDS, JobKind, kind_named
    from together_flows.jobs.model import JobEvent, JobReference, JobState, JobStatus
    from together_flows.jobs.outcome import Outcome, conclude, outcome_from_event, outcome_to_event, remember
    from together_flows.jobs.pages import page_of
    from together_flows.jobs.pricing import PriceEstimate, check_budget, fine_tune_price, hourly_usd, total_price
    from together_flows.jobs.record import JobRecord, JobStore, MemoryStore, Phase, SqliteStore, TaskOutcome
    from together_flows.jobs.steps import arun, run
    from together_flows.jobs.submission import SubmissionPolicy, asubmit_once, killed_by_the_clear, submit_once
    from together_flows.jobs.waiting import Done, Expired, GiveUp, WaitPolicy
    from together_flows.jobs.watcher import JobWatcher

_HOMES = {
    "ending": ("end_job",),
    "kind": ("KINDS", "JobKind", "kind_named"),
    "closing_words": ("last_words", "last_words_without_record", "with_last_words"),
    "model": ("JobEvent", "JobReference", "JobState", "JobStatus"),
    "outcome": ("Outcome", "conclude", "outcome_from_event", "outcome_to_event", "remember"),
    "pages": ("page_of",),
    "pricing": ("PriceEstimate", "check_budget", "fine_tune_price", "hourly_usd", "total_price"),
    "record": ("JobRecord", "JobStore", "MemoryStore", "Phase", "SqliteStore", "TaskOutcome"),
    "steps": ("arun", "run"),
    "submission": ("SubmissionPolicy", "asubmit_once", "killed_by_the_clear", "submit_once"),
    "waiting": ("Done", "Expired", "GiveUp", "WaitPolicy"),
    "watcher": ("JobWatcher",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "KINDS",
    "Done",
    "Expired",
    "GiveUp",
    "JobEvent",
    "JobKind",
    "JobRecord",
    "JobReference",
    "JobState",
    "JobStatus",
    "JobStore",
    "JobWatcher",
    "MemoryStore",
    "Outcome",
    "Phase",
    "PriceEstimate",
    "SqliteStore",
    "SubmissionPolicy",
    "TaskOutcome",
    "WaitPolicy",
    "arun",
    "asubmit_once",
    "check_budget",
    "conclude",
    "end_job",
    "fine_tune_price",
    "hourly_usd",
    "killed_by_the_clear",
    "kind_named",
    "last_words",
    "last_words_without_record",
    "outcome_from_event",
    "outcome_to_event",
    "page_of",
    "remember",
    "run",
    "submit_once",
    "total_price",
    "with_last_words",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
