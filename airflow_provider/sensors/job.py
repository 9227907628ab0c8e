"""Sensors: wait for a job that something else has submitted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.triggers.base import StartTriggerArgs

from airflow_provider.failures import raise_for_airflow
from airflow_provider.hooks.together import TogetherHook
from airflow_provider.triggers.job import TogetherSensorTrigger
from together_flows.errors import JobFailed, TogetherError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs import JobReference

__all__ = [
    "TogetherBatchSensor",
    "TogetherClusterSensor",
    "TogetherDeploymentSensor",
    "TogetherEndpointSensor",
    "TogetherEvaluationSensor",
    "TogetherFileSensor",
    "TogetherFineTuneSensor",
    "TogetherJobSensor",
    "TogetherModelUploadSensor",
    "TogetherQueueSensor",
    "TogetherRLOperationSensor",
    "TogetherRLSessionSensor",
    "TogetherSharedVolumeSensor",
    "TogetherVideoSensor",
]

_PULLS_XCOMS = re.compile(r"{[{%].*\b(ti|task_instance|xcom\w*)\b", re.DOTALL)
_TRIGGER = f"{TogetherSensorTrigger.__module__}.{TogetherSensorTrigger.__qualname__}"


class TogetherJobSensor(BaseSensorOperator):
    """
    Wait until a job has succeeded, and return what it made. A job that failed fails the sensor at once.

    By default the wait begins and ends in the triggerer, so that no worker ever runs for it. A worker runs for a moment
    where the triggerer cannot find out which job is meant: for a mapped sensor, and for an id from a template that
    pulls XComs. An id such as ``upstream.output["id"]`` it can. The job is never ended by its sensor.

    :param job_id: the job. (templated)
    :param together_conn_id: id of the Airflow connection. (templated)
    :param deferrable: wait in the triggerer; otherwise in a worker, as ``mode`` says.
    :param poke_interval: seconds between two looks at the job, in the long run.
    """

    #: Name of the job kind.
    kind: ClassVar[str]

    template_fields: Sequence[str] = ("job_id", "references", "together_conn_id")
    ui_color = "#e8ebf9"

    def __init__(
        self,
        *,
        job_id: Any,
        together_conn_id: str = TogetherHook.default_conn_name,
        deferrable: bool = True,
        poke_interval: timedelta | float = 15.0,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.together_conn_id = together_conn_id
        self.job_id = job_id  # by this field Airflow learns which task's output it is
        self.references = [f"{self.kind}:{job_id}"]  # for what an upstream task returns, this is a template
        self.deferrable = deferrable
        in_trigger = _for_the_trigger(job_id)
        if deferrable and in_trigger is not None:
            self.start_from_trigger = True
            self.start_trigger_args = StartTriggerArgs(
                trigger_cls=_TRIGGER,
                trigger_kwargs={
                    "together_conn_id": together_conn_id,
                    "references": [f"{self.kind}:{in_trigger}"],
                    "interval": self.poke_interval,
                },
                next_method="execute_complete",
                timeout=timedelta(seconds=self.timeout),
            )

    @cached_property
    def hook(self) -> TogetherHook:
        """The hook of the sensor's connection."""
        return TogetherHook(self.together_conn_id)

    def execute(self, context: Context) -> Any:
        """Wait, where the wait did not begin in the triggerer."""
        if not self.deferrable:
            return super().execute(context)
        return self.defer(
            trigger=TogetherSensorTrigger(self.together_conn_id, self.references, interval=self.poke_interval),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout),
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        from together_flows.jobs import kind_named, run
        from together_flows.jobs.ending import look

        try:
            reference = self._reference()
            status = run(look(kind_named(reference.kind), reference.id), client=self.hook.client, log=self._say)
            if status is None:
                raise JobFailed(f"{reference} does not exist.", reference=str(reference))
            self.log.info(status.describe())
            if not status.state.is_final:
                return PokeReturnValue(is_done=False)
            return PokeReturnValue(is_done=True, xcom_value=self._manifest(reference))
        except TogetherError as error:
            raise_for_airflow(_final(error))

    def execute_complete(self, context: Context, event: Mapping[str, Any] | str) -> Any:
        """Go on after the wait in the triggerer: only a job that did not succeed comes here."""
        try:
            if isinstance(event, Mapping):
                error = TogetherError(str(event["error"]), retryable=bool(event["retryable"]))
                raise error
            return self._manifest(self._reference())
        except TogetherError as error:
            raise_for_airflow(_final(error))

    def _reference(self) -> JobReference:
        from together_flows.jobs import JobReference

        return JobReference.parse(self.references[0])

    def _manifest(self, reference: JobReference) -> dict[str, Any]:
        """What a final job has made, or the error that says why it made nothing."""
        from together_flows.jobs import Done, MemoryStore, conclude, kind_named, run

        kind = kind_named(reference.kind)
        status = kind.status(self.hook.client.send(kind.read(reference.id).untyped()), reference.id)
        steps = conclude(kind, reference, Done(status), base_url=self.hook.client.base_url)
        manifest = run(steps, client=self.hook.client, store=MemoryStore(), log=self._say)
        return {"reference": str(reference), **manifest}

    def _say(self, message: str, level: str) -> None:
        getattr(self.log, level)(message)


def _for_the_trigger(job_id: Any) -> str | None:
    """
    A job's id, or a template of it that the triggerer can render; ``None`` where there is none.

    A triggerer can pull the XCom of one task instance, and hangs on a template that asks for those of all instances,
    as every ``xcom_pull`` without ``map_indexes`` does.
    """
    if isinstance(job_id, str):
        return None if _PULLS_XCOMS.search(job_id) else job_id
    operator, key = getattr(job_id, "operator", None), getattr(job_id, "key", None)
    if operator is None or key is None or operator.is_mapped or operator.get_closest_mapped_task_group() is not None:
        return None
    return f"{{{{ ti.xcom_pull(task_ids={operator.task_id!r}, key={key!r}, map_indexes=-1) }}}}"


def _final(error: TogetherError) -> TogetherError:
    """The same error, which no retry can mend where the job itself has failed: the sensor cannot submit a new one."""
    if isinstance(error, JobFailed):
        error.retryable = False
    return error


class TogetherFileSensor(TogetherJobSensor):
    """
    Wait until Together AI has checked a file.

    :param file_id: the file. (templated)

    It also takes what :class:`TogetherJobSensor` takes.
    """

    kind = "file"
    template_fields: Sequence[str] = ("file_id", *TogetherJobSensor.template_fields)

    def __init__(self, *, file_id: str, **kwargs: Any) -> None:
        super().__init__(job_id=file_id, **kwargs)
        self.file_id = file_id


class TogetherFineTuneSensor(TogetherJobSensor):
    """
    Wait until a model is trained.

    :param fine_tune_id: the fine-tuning job. (templated)

    It also takes what :class:`TogetherJobSensor` takes.
    """

    kind = "fine_tune"
    template_fields: Sequence[str] = ("fine_tune_id", *TogetherJobSensor.template_fields)

    def __init__(self, *, fine_tune_id: str, **kwargs: Any) -> None:
        super().__init__(job_id=fine_tune_id, **kwargs)
        self.fine_tune_id = fine_tune_id


class TogetherBatchSensor(TogetherJobSensor):
    """
    Wait until a batch is done.

    :param batch_id: the batch. (templated)

    It also takes what :class:`TogetherJobSensor` takes.
    """

    kind = "batch"
    template_fields: Sequence[str] = ("batch_id", *TogetherJobSensor.template_fields)

    def __init__(self, *, batch_id: str, **kwargs: Any) -> None:
        super().__init__(job_id=batch_id, **kwargs)
        self.batch_id = batch_id


class TogetherEvaluationSensor(TogetherJobSensor):
    """
    Wait until an evaluation is done.

    :param evaluation_id: the evaluation. (templated)

    It also takes what :class:`TogetherJobSensor` takes.
    """

    kind = "evaluation"
    template_fields: Sequence[str] = ("evaluation_id", *TogetherJobSensor.template_fields)

    def __init__(self, *, evaluation_id: str, **kwargs: Any) -> None:
        super().__init__(job_id=evaluation_id, **kwargs)
        self.evaluation_id = evaluation_id


class TogetherEndpointSensor(TogetherJobSensor):
    """
    Wait until an endpoint serves. One that is stopped fails the sensor.

    :param endpoint_id: the endpoint. (templated)

    It also takes what :class:`TogetherJobSensor` takes.
    """

    kind = "endpoint"
    template_fields: Sequence[str] = ("endpoint_id", *TogetherJobSensor.template_fields)

    def __init__(self, *, endpoint_id: str, **kwargs: Any) -> None:
        super().__init__(job_id=endpoint_id, **kwargs)
        self.endpoint_id = endpoint_id


class TogetherModelUploadSensor(TogetherJobSensor):
    """
    Wait until a model's upload is done.

    :param job_id: the upload's job. (templated)

    It also takes what :class:`TogetherJobSensor` takes.
    """

    kind = "model_upload"


class TogetherDeploymentSensor(TogetherJobSensor):
    """
    Wait until a deployment is ready. One that is deleted fails the sensor.

    :param deployment_id: the deployment. (templated)

    It also takes what :class:`TogetherJobSensor` takes.
    """

    kind = "deployment"
    template_fields: Sequence[str] = ("deployment_id", *TogetherJobSensor.template_fields)

    def __init__(self, *, deployment_id: str, **kwargs: Any) -> None:
        super().__init__(job_id=deployment_id, **kwargs)
        self.deployment_id = deployment_id


class TogetherClusterSensor(TogetherJobSensor):
    """
    Wait until a GPU cluster is ready. One that is paused or deleted fails the sensor.

    :param cluster_id: the cluster. (templated)

    It also takes what :class:`TogetherJobSensor` takes.
    """

    kind = "cluster"
    template_fields: Sequence[str] = ("cluster_id", *TogetherJobSensor.template_fields)

    def __init__(self, *, cluster_id: str, **kwargs: Any) -> None:
        super().__init__(job_id=cluster_id, **kwargs)
        self.cluster_id = cluster_id


class TogetherSharedVolumeSensor(TogetherJobSensor):
    """
    Wait until a volume of clusters is available.

    :param volume_id: the volume. (templated)

    It also takes what :class:`TogetherJobSensor` takes.
    """

    kind = "shared_volume"
    template_fields: Sequence[str] = ("volume_id", *TogetherJobSensor.template_fields)

    def __init__(self, *, volume_id: str, **kwargs: Any) -> None:
        super().__init__(job_id=volume_id, **kwargs)
        self.volume_id = volume_id


class TogetherVideoSensor(TogetherJobSensor):
    """
    Wait until a video is made.

    :param video_id: the video. (templated)

    It also takes what :class:`TogetherJobSensor` takes.
    """

    kind = "video"
    template_fields: Sequence[str] = ("video_id", *TogetherJobSensor.template_fields)

    def __init__(self, *, video_id: str, **kwargs: Any) -> None:
        super().__init__(job_id=video_id, **kwargs)
        self.video_id = video_id


class TogetherRLSessionSensor(TogetherJobSensor):
    """
    Wait until a training session runs. One that is stopped fails the sensor.

    :param session_id: the session. (templated)

    It also takes what :class:`TogetherJobSensor` takes.
    """

    kind = "rl_session"
    template_fields: Sequence[str] = ("session_id", *TogetherJobSensor.template_fields)

    def __init__(self, *, session_id: str, **kwargs: Any) -> None:
        super().__init__(job_id=session_id, **kwargs)
        self.session_id = session_id


class TogetherQueueSensor(TogetherJobSensor):
    """
    Wait until a job in the queue of a deployment is done.

    :param job_id: the job as ``model/request_id``, each quoted as in a URL. So
        :class:`~airflow_provider.operators.queue.TogetherQueueOperator` returns it when it does not wait. (templated)

    It also takes what :class:`TogetherJobSensor` takes.
    """

    kind = "queue"


class TogetherRLOperationSensor(TogetherJobSensor):
    """
    Wait until an operation of a training session is done.

    :param job_id: the operation as ``session/operation/id``, each quoted as in a URL. So
        :class:`~airflow_provider.operators.rl.TogetherRLOperationOperator` returns it when it does not wait.
        (templated)

    It also takes what :class:`TogetherJobSensor` takes.
    """

    kind = "rl_operation"
