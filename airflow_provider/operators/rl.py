"""Operators for reinforcement learning: sessions that hold a model, and the operations that train it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider.operators.base import TogetherJobOperator, given
from airflow_provider.operators.teardown import TogetherBillingJobOperator, TogetherTeardownOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.jobs.model import Spec

__all__ = ["TogetherRLOperationOperator", "TogetherRLSessionOperator", "TogetherRLSessionTeardownOperator"]

_SESSION = ("base_model", "lora_config", "resume_from_checkpoint_id")


class TogetherRLSessionTeardownOperator(TogetherTeardownOperator):
    """
    Stop the training sessions that a task has started. What was not saved as a checkpoint is lost.

    It takes what :class:`~airflow_provider.operators.teardown.TogetherTeardownOperator` takes.
    """

    kind = "rl_session"


class TogetherRLSessionOperator(TogetherBillingJobOperator):
    """
    Start a training session of reinforcement learning, and wait until it runs. **It bills until it is stopped.**

    Have it stopped by a teardown, which Airflow runs whether the tasks in between succeed or fail:

    .. code-block:: python

        session = TogetherRLSessionOperator(task_id="session", base_model="…", lora_config={"rank": 8})
        with session.teardown():
            TogetherRLOperationOperator(
                task_id="save", session_id=session.output["id"], operation="training_checkpoint"
            )

    A session that does not run when its task ends for good is stopped too. The API gives nothing to find a lost session
    by: if the answer to its creation is lost, the task fails rather than pay twice (see ``on_unknown``).

    Returns ``id``, ``base_model``, ``step``, ``inference_checkpoints``, ``training_checkpoints``, ``status``,
    ``reference`` and ``url``; each is an XCom of its own too.

    :param base_model: model to train. (templated)
    :param lora_config: the adapter to train, such as ``{"rank": 8, "alpha": 16}``. (templated)
    :param resume_from_checkpoint_id: checkpoint to go on from. (templated)

    It also takes what :class:`~airflow_provider.operators.base.TogetherJobOperator` takes. No price is known
    beforehand, so ``budget`` limits nothing.
    """

    kind = "rl_session"
    teardown_operator = TogetherRLSessionTeardownOperator
    template_fields: Sequence[str] = (*_SESSION, *TogetherJobOperator.template_fields)
    template_fields_renderers = {"lora_config": "json"}  # noqa: RUF012 - Airflow declares it so

    def __init__(
        self,
        *,
        base_model: str,
        lora_config: Mapping[str, Any] | None = None,
        resume_from_checkpoint_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.base_model = base_model
        self.lora_config = lora_config
        self.resume_from_checkpoint_id = resume_from_checkpoint_id

    def job_specs(self, context: Context) -> Sequence[Spec]:
        """The arguments that were given."""
        return [given(self, _SESSION)]


class TogetherRLOperationOperator(TogetherJobOperator):
    """
    Have a training session do something, and wait for it: a pass over samples, a step of the optimizer, a sampling, or
    the saving of a checkpoint.

    The API knows a repeated request again, so a retry never does the work twice.

    Returns ``id``, ``output``, ``reference`` and ``url``; each is an XCom of its own too. Of the output only those
    parts are there that fit into a small XCom; if there are more, ``output_left_out`` is their number, and the
    ``retrieve_…`` operations of ``together_flows.api.rl`` tell them all.

    :param session_id: the session. (templated)
    :param operation: ``forward_backward``, ``optim_step``, ``sample``, ``inference_checkpoint`` or
        ``training_checkpoint``. (templated)
    :param arguments: its arguments, as ``together_flows.api.rl`` describes them, such as
        ``{"learning_rate": 1e-5}``. (templated)

    It also takes what :class:`~airflow_provider.operators.base.TogetherJobOperator` takes.
    """

    kind = "rl_operation"
    template_fields: Sequence[str] = ("session_id", "operation", "arguments", *TogetherJobOperator.template_fields)
    template_fields_renderers = {"arguments": "json"}  # noqa: RUF012 - Airflow declares it so

    def __init__(
        self,
        *,
        session_id: str,
        operation: str,
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.session_id = session_id
        self.operation = operation
        self.arguments = arguments

    def job_specs(self, context: Context) -> Sequence[Spec]:
        """The session, what it is to do, and the arguments of that."""
        return [{**(self.arguments or {}), **given(self, ("session_id", "operation"))}]
