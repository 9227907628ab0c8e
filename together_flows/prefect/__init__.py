"""Together AI in Prefect: a credentials block, job blocks, tasks in pairs, hooks and flows.

Tasks, each as `x` for sync code and `ax` for async code, both real Prefect tasks:

- submit a job, once, however often the task or its flow run is tried: `submit_file`, `submit_fine_tune`,
  `submit_batch`, `submit_evaluation`, `submit_endpoint`, `submit_model_upload`;
- wait for jobs by reference: `wait_for_job` (`await_for_job`), `wait_many` (`await_many`);
- do both, and what belongs to it: `upload_file`, `fine_tune`, `batch`, `evaluate`, `deploy_endpoint`, `upload_model`.
  Each runs the tasks above inside it, which so show up and are tried again on their own;
- and `stop_endpoint`, `download_file`, `download_model`, and `call` for any operation of the API.

No task but these: `endpoint` and `aendpoint` are context managers, and `end_jobs`, `end_billing_jobs`, `job_hooks` and
`together_flow` are for the flow, so that no job outlives a run that nobody wants. Await the tasks of an async flow, or
call those of a sync flow: Prefect tells a task that was submitted to a thread nothing of a cancellation. Our waits ask
for it there once an interval, yet the run itself is over only when its thread is.

Within one task run, the same inputs mean the same job: a retry finds it. Two task runs with the same inputs, such as
two of a `.map`, are two jobs.
"""

from __future__ import annotations

from together_flows.prefect.blocks import (
    BatchJob,
    EndpointJob,
    EvaluationJob,
    FileJob,
    FineTuneJob,
    ModelUploadJob,
    TogetherJobRun,
)
from together_flows.prefect.credentials import TogetherCredentials
from together_flows.prefect.flows import batch_inference, fine_tune_pipeline, sweep
from together_flows.prefect.hooks import end_billing_jobs, end_jobs, job_hooks, together_flow
from together_flows.prefect.retries import may_help, may_help_to_wait
from together_flows.prefect.tasks import (
    abatch,
    acall,
    adeploy_endpoint,
    adownload_file,
    adownload_model,
    aendpoint,
    aevaluate,
    afine_tune,
    ainfer_rows,
    astop_endpoint,
    asubmit_batch,
    asubmit_endpoint,
    asubmit_evaluation,
    asubmit_file,
    asubmit_fine_tune,
    asubmit_model_upload,
    aupload_file,
    aupload_model,
    await_for_job,
    await_many,
    batch,
    call,
    deploy_endpoint,
    download_file,
    download_model,
    endpoint,
    evaluate,
    fine_tune,
    infer_rows,
    stop_endpoint,
    submit_batch,
    submit_endpoint,
    submit_evaluation,
    submit_file,
    submit_fine_tune,
    submit_model_upload,
    upload_file,
    upload_model,
    wait_for_job,
    wait_many,
)

__all__ = [
    "BatchJob",
    "EndpointJob",
    "EvaluationJob",
    "FileJob",
    "FineTuneJob",
    "ModelUploadJob",
    "TogetherCredentials",
    "TogetherJobRun",
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
    "batch_inference",
    "call",
    "deploy_endpoint",
    "download_file",
    "download_model",
    "end_billing_jobs",
    "end_jobs",
    "endpoint",
    "evaluate",
    "fine_tune",
    "fine_tune_pipeline",
    "infer_rows",
    "job_hooks",
    "may_help",
    "may_help_to_wait",
    "stop_endpoint",
    "submit_batch",
    "submit_endpoint",
    "submit_evaluation",
    "submit_file",
    "submit_fine_tune",
    "submit_model_upload",
    "sweep",
    "together_flow",
    "upload_file",
    "upload_model",
    "wait_for_job",
    "wait_many",
]
