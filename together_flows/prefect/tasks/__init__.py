"""Tasks: each exists twice, `x` for sync code and `ax` for async code, and both are real Prefect tasks."""

from __future__ import annotations

from together_flows.prefect.tasks.batches import abatch, asubmit_batch, batch, submit_batch
from together_flows.prefect.tasks.calls import acall, call
from together_flows.prefect.tasks.endpoints import (
    adeploy_endpoint,
    aendpoint,
    astop_endpoint,
    asubmit_endpoint,
    deploy_endpoint,
    endpoint,
    stop_endpoint,
    submit_endpoint,
)
from together_flows.prefect.tasks.evaluations import aevaluate, asubmit_evaluation, evaluate, submit_evaluation
from together_flows.prefect.tasks.files import (
    adownload_file,
    asubmit_file,
    aupload_file,
    download_file,
    submit_file,
    upload_file,
)
from together_flows.prefect.tasks.fine_tuning import (
    adownload_model,
    afine_tune,
    asubmit_fine_tune,
    download_model,
    fine_tune,
    submit_fine_tune,
)
from together_flows.prefect.tasks.inference import ainfer_rows, infer_rows
from together_flows.prefect.tasks.models import asubmit_model_upload, aupload_model, submit_model_upload, upload_model
from together_flows.prefect.tasks.waiting import await_for_job, await_many, wait_for_job, wait_many

__all__ = [
    "abatch",
    "acall",
    "adeploy_endpoint",
    "adownload_file",
    "adownload_model",
    "aendpoint",
    "aevaluate",
    "afine_tune",
    "ainfer_rows",
    "astop_endpoint",
    "asubmit_batch",
    "asubmit_endpoint",
    "asubmit_evaluation",
    "asubmit_file",
    "asubmit_fine_tune",
    "asubmit_model_upload",
    "aupload_file",
    "aupload_model",
    "await_for_job",
    "await_many",
    "batch",
    "call",
    "deploy_endpoint",
    "download_file",
    "download_model",
    "endpoint",
    "evaluate",
    "fine_tune",
    "infer_rows",
    "stop_endpoint",
    "submit_batch",
    "submit_endpoint",
    "submit_evaluation",
    "submit_file",
    "submit_fine_tune",
    "submit_model_upload",
    "upload_file",
    "upload_model",
    "wait_for_job",
    "wait_many",
]
