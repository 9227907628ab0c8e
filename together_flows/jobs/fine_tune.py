"""Fine-tuning jobs. The marker travels in the suffix of the model's name, which the list of jobs shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from together_flows.api import fine_tunes
from together_flows.jobs.ending import cancel_with
from together_flows.jobs.kind import JobKind, carried_in
from together_flows.jobs.model import JobEvent, JobState, Row, Spec
from together_flows.jobs.steps import Send

__all__ = ["KIND", "MAX_SUFFIX", "price_in_dollars"]

#: Longest suffix that the API takes, in characters.
MAX_SUFFIX = 40
_NANO = 1_000_000_000


def price_in_dollars(total_price: Any) -> float | None:
    """A job's `total_price`, which the API counts in billionths of a US dollar."""
    return total_price / _NANO if isinstance(total_price, int | float) else None


def _mark(spec: Spec, marker: str) -> Spec:
    own = str(spec.get("suffix") or "")[: MAX_SUFFIX - len(marker) - 1].rstrip("-_. ")
    return {**spec, "suffix": f"{own}-{marker}" if own else marker}


def _marked(row: Row) -> str:
    return str(row.get("suffix") or row.get("model_output_name") or "")


def _seconds_remaining(row: Row) -> float | None:
    progress = row.get("progress") or {}
    return progress.get("seconds_remaining") if progress.get("estimate_available") else None


def _failure(row: Row) -> str:
    events = row.get("events") or []
    errors = [event.get("message", "") for event in events if event.get("type") == "job_error"]
    return str(errors[-1]) if errors else ""


def _event_lines(answer: Mapping[str, Any]) -> Sequence[JobEvent]:
    lines = []
    for event in answer.get("data") or ():
        kind, step, total = event.get("type", ""), event.get("step") or 0, event.get("total_steps") or 0
        place = f" (step {step} of {total})" if step and total else ""
        level = str(event.get("level") or "info")
        lines.append(
            JobEvent(
                key=event.get("hash") or f"{event.get('created_at')}|{kind}|{step}|{event.get('message')}",
                text=f"{kind}: {event.get('message', '')}{place}",
                level="error" if level.endswith("error") else "warning" if level.endswith("warning") else "info",
                progress=step / total if step and total else None,
            )
        )
    return lines


def _manifest(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "model": row.get("model_output_name") or row.get("output_name") or "",
        "base_model": row.get("model", ""),
        "training_file": row.get("training_file", ""),
        "epochs": row.get("n_epochs"),
        "tokens": row.get("token_count"),
        "price_usd": price_in_dollars(row.get("total_price")),
    }


KIND = JobKind(
    name="fine_tune",
    noun="fine-tuning job",
    states={
        "pending": JobState.QUEUED,
        "queued": JobState.QUEUED,
        "running": JobState.RUNNING,
        "compressing": JobState.RUNNING,
        "uploading": JobState.RUNNING,
        "cancel_requested": JobState.RUNNING,
        "completed": JobState.SUCCEEDED,
        "error": JobState.FAILED,
        "user_error": JobState.FAILED,
        "cancelled": JobState.CANCELLED,
    },
    create=lambda spec: Send(fine_tunes.create(**spec)),
    read=fine_tunes.retrieve,
    list_all=fine_tunes.list,
    new_id=lambda answer: str(answer.id),
    seconds_remaining=_seconds_remaining,
    failure=_failure,
    lasting=lambda row: str(row.get("status")).lower() == "user_error",
    mark=_mark,
    marked=_marked,
    carries=carried_in(_marked),
    end=cancel_with(fine_tunes.cancel),
    events=fine_tunes.list_events,
    event_lines=_event_lines,
    manifest=_manifest,
    secret_arguments=("wandb_api_key", "hf_token", "hf_api_token"),
)
