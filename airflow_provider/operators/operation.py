"""The operator for every operation of the API."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider.failures import raise_for_airflow
from airflow_provider.hidden import HidingOperator, SecretField, revealed
from airflow_provider.hooks.together import TogetherHook
from airflow_provider.storage import download, located, written_to
from together_flows.errors import ArgumentInvalid, TogetherError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from together_flows.api import Operation

__all__ = ["TogetherOperator"]

#: Most bytes of an answer that go into an XCom.
_XCOM_LIMIT = 48 * 1024

#: How an error says that there is a text where something else is wanted.
_WANTED_NO_TEXT = re.compile(r"must be (a list|a dict|an integer|a number|a boolean).*?\(got (str|')")
_TEMPLATES_GIVE_TEXT = (
    "If it comes from a template, which renders to text: give the value itself, or the output of a task, "
    "or set render_template_as_native_obj=True on the DAG."
)


class TogetherOperator(HidingOperator):
    """
    Send any operation of the API, such as ``models.list`` or ``images.generate``.

    .. code-block:: python

        TogetherOperator(
            task_id="ask",
            operation="chat.create",
            arguments={"model": "{{ params.model }}", "messages": [{"role": "user", "content": "Good morning?"}]},
        )

    Returns the answer as JSON, with its secrets masked. An answer that is a file, or too large for an XCom, needs
    ``output_path``; then ``path`` and ``bytes`` are returned, and the file holds the answer as it came.

    A WebSocket session is held from its beginning to its end: ``audio.connect_speech`` speaks the text of
    ``session_input`` into ``output_path``, and ``realtime.connect`` writes down the recording that lies there. It needs
    the extra ``realtime``.

    Work that takes long has operators of its own, which wait for it, find it again after a crash, and stop it when
    nobody wants it any more: :class:`~airflow_provider.operators.fine_tune.TogetherFineTuneOperator`,
    :class:`~airflow_provider.operators.batch.TogetherBatchOperator`,
    :class:`~airflow_provider.operators.evaluation.TogetherEvaluationOperator`,
    :class:`~airflow_provider.operators.endpoint.TogetherEndpointOperator` and
    :class:`~airflow_provider.operators.model_upload.TogetherModelUploadOperator`. Here a creation whose answer is lost
    fails the task for good, because a retry could pay twice.

    :param operation: ``"group.function"``, a key of ``together_flows.api.OPERATIONS``. (templated)
    :param arguments: the operation's arguments, by name. They are checked before anything is sent. Airflow shows none
        of the secrets among them, such as ``hf_token`` or the ``value`` of an environment variable. (templated)
    :param output_path: where the answer goes: a path as the worker sees it, or a URL that ``ObjectStoragePath``
        understands. (templated)
    :param session_input: what goes into a session: a text or a list of its pieces for ``audio.connect_speech``; the
        path or URL of a recording for ``realtime.connect``. No other operation takes it. (templated)
    :param together_conn_id: id of the Airflow connection. (templated)
    """

    template_fields: Sequence[str] = ("operation", "arguments", "output_path", "session_input", "together_conn_id")
    template_fields_renderers = {"arguments": "json"}  # noqa: RUF012 - Airflow declares it so
    ui_color = "#e8ebf9"
    arguments = SecretField.of_arguments()

    def __init__(
        self,
        *,
        operation: str,
        arguments: Mapping[str, Any] | None = None,
        output_path: str | None = None,
        session_input: str | Sequence[str] | None = None,
        together_conn_id: str = TogetherHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.operation = operation
        self.arguments = arguments
        self.output_path = output_path
        self.session_input = session_input
        self.together_conn_id = together_conn_id

    @cached_property
    def hook(self) -> TogetherHook:
        """The hook of the operator's connection."""
        return TogetherHook(self.together_conn_id)

    def execute(self, context: Context) -> Any:
        """Check the arguments, send the operation, and return or write its answer."""
        from together_flows.api import Reply
        from together_flows.inference import check_session_input

        try:
            operation = self._operation()
            check_session_input(operation, self.session_input)
            if operation.reply is Reply.SOCKET:
                return self._conversed(operation)
            if operation.reply is Reply.BYTES:
                return download(self.hook.client, operation, self._output_path("is a file"))
            return self._kept(operation, self.hook.client.send(operation.untyped()))
        except TogetherError as error:
            raise_for_airflow(error)

    def _operation(self) -> Operation[Any]:
        from difflib import get_close_matches

        from together_flows.api import OPERATIONS

        entry = OPERATIONS.get(self.operation)
        if entry is None:
            close = get_close_matches(self.operation, OPERATIONS, n=3)
            raise ArgumentInvalid(
                f"{self.operation!r} is no operation of the API.",
                mend=f"Did you mean {' or '.join(close)}?" if close else "See together_flows.api.OPERATIONS.",
            )
        try:
            return entry.function(**(revealed(self.arguments) or {}))
        except ArgumentInvalid as error:
            if error.mend or not _WANTED_NO_TEXT.search(error.message):
                raise
            raise ArgumentInvalid(error.message, mend=_TEMPLATES_GIVE_TEXT) from None

    def _conversed(self, operation: Operation[Any]) -> dict[str, Any]:
        from together_flows.inference import SESSIONS, converse

        form = SESSIONS[operation.name]
        given: Any = located(str(self.session_input)) if form.reads_file else self.session_input
        if form.writes_file:
            return converse(self.hook.client, operation, given, located(self._output_path("is a file")))
        kept: dict[str, Any] = self._kept(operation, converse(self.hook.client, operation, given))
        return kept

    def _kept(self, operation: Operation[Any], answer: Any) -> Any:
        from together_flows.client import without_secrets

        text = json.dumps(answer, ensure_ascii=False, default=str).encode()
        if not self.output_path and len(text) <= _XCOM_LIMIT:
            return without_secrets(operation, json.loads(text))
        location = self._output_path(f"has {len(text)} bytes, too many for an XCom")
        with (
            tempfile.TemporaryDirectory(prefix="together-answer-") as scratch,
            written_to(location, Path(scratch)) as target,
        ):
            target.write_bytes(text)
        return {"path": location, "bytes": len(text)}

    def _output_path(self, why: str) -> str:
        if not self.output_path:
            raise ArgumentInvalid(f"The answer to {self.operation} {why}.", mend="Give it an output_path.")
        return self.output_path
