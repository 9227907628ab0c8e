"""Evaluations. The marker is a comment in the judge's template: Jinja drops it, and the API shows the template again.

A specification names the data either by `parameters.input_data_file_path`, the id of a file on the server, or by
`input_path` beside the parameters, a local file that is uploaded first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from together_flows.api import evaluation
from together_flows.jobs.kind import JobKind, Prepared, carried_in, content_not_place
from together_flows.jobs.manifest import small_part
from together_flows.jobs.model import JobState, Row, Spec
from together_flows.jobs.steps import Send, Steps, Upload

__all__ = ["KIND"]

#: Most jobs that the list can answer; older ones are read one by one.
LIST_LIMIT = 100


def _mark(spec: Spec, marker: str) -> Spec:
    parameters = dict(spec.get("parameters") or {})
    judge = dict(parameters.get("judge") or {})
    if not isinstance(judge.get("system_template"), str):
        return spec  # the operation refuses it, and says why better than this could
    judge["system_template"] += f"{{# {marker} #}}"
    return {**spec, "parameters": {**parameters, "judge": judge}}


def _prepare(spec: Spec, marker: str) -> Steps[Prepared]:
    arguments = dict(spec)
    path = arguments.pop("input_path", None)
    arguments.pop("input_sha256", None)
    if path is None:
        return Prepared(arguments, {})
    source = Path(path)
    file = yield Upload(source, purpose="eval", file_name=source.name)
    parameters = {**arguments["parameters"], "input_data_file_path": file.id}
    return Prepared({**arguments, "parameters": parameters}, {})


def _marked(row: Row) -> str:
    judge = (row.get("parameters") or {}).get("judge") or {}
    return str(judge.get("system_template") or "")


def _failure(row: Row) -> str:
    return str((row.get("results") or {}).get("error") or "")


def _manifest(row: Row) -> dict[str, Any]:
    results = dict(row.get("results") or {})
    return {
        "id": row["workflow_id"],
        "type": row.get("type", ""),
        "result_file_id": results.pop("result_file_id", None),
        **small_part("results", results),
    }


KIND = JobKind(
    name="evaluation",
    noun="evaluation",
    states={
        "pending": JobState.QUEUED,
        "queued": JobState.QUEUED,
        "running": JobState.RUNNING,
        "completed": JobState.SUCCEEDED,
        "error": JobState.FAILED,
        "user_error": JobState.FAILED,
    },
    create=lambda spec: Send(evaluation.create(**spec)),
    read=evaluation.retrieve,
    list_all=lambda: evaluation.list(limit=LIST_LIMIT),
    new_id=lambda answer: str(answer.workflow_id),
    id_of=lambda row: str(row["workflow_id"]),
    failure=_failure,
    lasting=lambda row: str(row.get("status")).lower() == "user_error",
    mark=_mark,
    prepare=_prepare,
    marked=_marked,
    carries=carried_in(_marked),
    end_note="The API has no call that cancels an evaluation; it ends by itself.",
    manifest=_manifest,
    secret_arguments=("external_api_token",),
    inputs=content_not_place,
)
