"""Job blocks: a job's settings, saved in Prefect under a name, and triggered from anywhere."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, cast

import anyio
from prefect.blocks.abstract import JobBlock, JobRun
from pydantic import Field

from together_flows.errors import TogetherError
from together_flows.prefect.credentials import TogetherCredentials
from together_flows.prefect.submitting import Job, Money, asubmit, submit
from together_flows.prefect.tasks.batches import batch_spec
from together_flows.prefect.tasks.endpoints import EndpointArguments, endpoint_money, endpoint_spec
from together_flows.prefect.tasks.evaluations import EvaluationType, evaluation_spec
from together_flows.prefect.tasks.files import Purpose, ready
from together_flows.prefect.tasks.fine_tuning import FineTuneArguments, fine_tune_money, fine_tune_spec
from together_flows.prefect.waits import POLL_INTERVAL, await_end, reference_of, wait_end

__all__ = [
    "BatchJob",
    "EndpointJob",
    "EvaluationJob",
    "FileJob",
    "FineTuneJob",
    "ModelUploadJob",
    "TogetherJobBlock",
    "TogetherJobRun",
]


class TogetherJobRun(JobRun[dict[str, Any]]):
    """A job that was triggered.

    Attributes:
        job: `reference` (`kind:id`), `kind`, `id` and `url` of the job.
    """

    def __init__(self, block: TogetherJobBlock, job: Job) -> None:
        self._block = block
        self._result: dict[str, Any] | None = None
        self.job = job

    def wait_for_completion(self) -> None:  # type: ignore[override] # sync here, and its twin is async
        """Wait until the job has ended.

        Raises:
            JobFailed: the job failed or expired.
            JobCancelled: somebody else cancelled it.
            WaitTimeout: it was not done in time, and was ended.
        """
        block, reference = self._block, reference_of(self.job)
        self._result = wait_end(
            reference, block.credentials, wait_timeout=block.wait_timeout, poll_interval=block.poll_interval
        )

    async def await_for_completion(self) -> None:
        """The same as `wait_for_completion`, on the event loop."""
        block, reference = self._block, reference_of(self.job)
        self._result = await await_end(
            reference, block.credentials, wait_timeout=block.wait_timeout, poll_interval=block.poll_interval
        )

    def fetch_result(self) -> dict[str, Any]:  # type: ignore[override] # sync here, and its twin is async
        """The job's result as small JSON.

        Raises:
            TogetherError: it was not waited for.
        """
        if self._result is None:
            raise TogetherError(
                f"{self.job['reference']} was not waited for.", mend="Call wait_for_completion() first."
            )
        return self._result

    async def afetch_result(self) -> dict[str, Any]:
        """The same as `fetch_result`, for async code."""
        return self.fetch_result()


class TogetherJobBlock(JobBlock[dict[str, Any]]):
    """What the blocks of all job kinds share.

    Attributes:
        credentials: the account.
        wait_timeout: seconds, counted from the submission, after which a waited-for job is ended.
        poll_interval: seconds between two looks, in the long run.
    """

    kind: ClassVar[str]

    credentials: TogetherCredentials
    wait_timeout: float | None = Field(default=None, description="Seconds after which a waited-for job is ended.")
    poll_interval: float = Field(default=POLL_INTERVAL, description="Seconds between two looks.")

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """The arguments of the job's creation, checked."""

    def money(self) -> Money | None:
        """What the job may cost."""
        return None

    @contextmanager
    def prepared(self) -> Iterator[dict[str, Any]]:
        """The specification, for as long as what it speaks of is at hand."""
        yield self.spec()

    def trigger(self) -> TogetherJobRun:  # type: ignore[override] # sync here, and its twin is async
        """Submit the job. Within a flow run a retry adopts the job that was submitted before."""
        with self.prepared() as spec:
            return TogetherJobRun(self, submit(self.kind, spec, self.credentials, money=self.money()))

    async def atrigger(self) -> TogetherJobRun:
        """The same as `trigger`, on the event loop."""
        preparation = self.prepared()
        spec = await anyio.to_thread.run_sync(preparation.__enter__)
        try:
            return TogetherJobRun(self, await asubmit(self.kind, spec, self.credentials, money=self.money()))
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(preparation.__exit__, None, None, None)


class FineTuneJob(TogetherJobBlock):
    """A fine-tuning job.

    Attributes:
        arguments: those of `together_flows.api.fine_tunes.create`, without secrets.
        budget: US dollars. A job that is estimated to cost more is not submitted.
    """

    _block_type_name: ClassVar[str] = "Together AI Fine-Tune Job"
    _block_type_slug: ClassVar[str] = "together-ai-fine-tune-job"
    kind: ClassVar[str] = "fine_tune"

    arguments: dict[str, Any] = Field(default_factory=dict, description="Arguments of the job.")
    budget: float | None = Field(default=None, description="US dollars that it may cost.")

    def spec(self) -> dict[str, Any]:
        """The arguments of the job's creation, checked."""
        return fine_tune_spec(cast(FineTuneArguments, self.arguments))

    def money(self) -> Money | None:
        """What the job may cost."""
        return fine_tune_money(self.budget)


class BatchJob(TogetherJobBlock):
    """One batch job over a file of requests.

    Attributes:
        input_path: a local file of at most 50,000 requests and 100 MB.
        input_file_id: a file on the server, instead.
        endpoint: the API that each request goes to.
    """

    _block_type_name: ClassVar[str] = "Together AI Batch Job"
    _block_type_slug: ClassVar[str] = "together-ai-batch-job"
    kind: ClassVar[str] = "batch"

    input_path: str | None = Field(default=None, description="A local file of requests.")
    input_file_id: str | None = Field(default=None, description="A file on the server, instead.")
    endpoint: str = Field(default="/v1/chat/completions", description="The API that each request goes to.")

    def spec(self) -> dict[str, Any]:
        """The arguments of the job's creation, checked."""
        return batch_spec(self.input_path, self.input_file_id, self.endpoint, "24h")


class EvaluationJob(TogetherJobBlock):
    """An evaluation.

    Attributes:
        type: what the judge does with each row.
        parameters: as `together_flows.api.evaluation` describes them.
        input_path: a local file with the rows, instead of `input_data_file_path` in the parameters.
    """

    _block_type_name: ClassVar[str] = "Together AI Evaluation Job"
    _block_type_slug: ClassVar[str] = "together-ai-evaluation-job"
    kind: ClassVar[str] = "evaluation"

    type: EvaluationType = Field(default="score", description="What the judge does with each row.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="How it judges, and what.")
    input_path: str | None = Field(default=None, description="A local file with the rows.")

    def spec(self) -> dict[str, Any]:
        """The arguments of the job's creation, checked."""
        return evaluation_spec(self.type, self.parameters, self.input_path)


class EndpointJob(TogetherJobBlock):
    """A dedicated endpoint; the job is "done" when it serves. It bills until `stop_endpoint`.

    Attributes:
        arguments: see `EndpointArguments`.
        budget: US dollars. An endpoint that costs more in `hours` is not created.
        hours: how long it is expected to serve.
    """

    _block_type_name: ClassVar[str] = "Together AI Endpoint Job"
    _block_type_slug: ClassVar[str] = "together-ai-endpoint-job"
    kind: ClassVar[str] = "endpoint"

    arguments: dict[str, Any] = Field(default_factory=dict, description="What the endpoint is.")
    budget: float | None = Field(default=None, description="US dollars that it may cost.")
    hours: float = Field(default=1.0, description="How long it is expected to serve.")

    def spec(self) -> dict[str, Any]:
        """The arguments of the job's creation, checked."""
        return endpoint_spec(cast(EndpointArguments, self.arguments))

    def money(self) -> Money | None:
        """What the job may cost."""
        return endpoint_money(self.budget, self.hours)


class FileJob(TogetherJobBlock):
    """The upload of a file; the job is done when the server has checked it.

    Attributes:
        path: a local path or an fsspec URL.
        purpose: what the file is for.
        file_name: its name on the server; its own by default.
    """

    _block_type_name: ClassVar[str] = "Together AI File Job"
    _block_type_slug: ClassVar[str] = "together-ai-file-job"
    kind: ClassVar[str] = "file"

    path: str = Field(description="A local path or an fsspec URL.")
    purpose: Purpose = Field(default="fine-tune", description="What the file is for.")
    file_name: str | None = Field(default=None, description="Its name on the server.")

    def spec(self) -> dict[str, Any]:
        """The arguments of the upload."""
        return {"path": self.path, "purpose": self.purpose, "file_name": self.file_name}

    @contextmanager
    def prepared(self) -> Iterator[dict[str, Any]]:
        """The specification, for as long as the local file is there."""
        with ready(self.path, self.purpose, self.file_name, check=True) as spec:
            yield spec


class ModelUploadJob(TogetherJobBlock):
    """The copy of a model from Hugging Face or S3 to Together.

    Attributes:
        arguments: those of `together_flows.api.models.upload`, without secrets.
    """

    _block_type_name: ClassVar[str] = "Together AI Model Upload Job"
    _block_type_slug: ClassVar[str] = "together-ai-model-upload-job"
    kind: ClassVar[str] = "model_upload"

    arguments: dict[str, Any] = Field(default_factory=dict, description="Which model, and where it comes from.")

    def spec(self) -> dict[str, Any]:
        """The arguments of the upload."""
        return dict(self.arguments)
