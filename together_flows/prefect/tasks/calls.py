"""One task for each and any operation of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic_core import to_jsonable_python

from together_flows.api import OPERATIONS, Operation, Reply
from together_flows.client import async_client_for, client_for, without_secrets
from together_flows.errors import ArgumentInvalid
from together_flows.inference import aconverse, check_session_input, converse
from together_flows.inference.sessions import SessionInput
from together_flows.prefect.credentials import TogetherCredentials, acredentials_of, credentials_of
from together_flows.prefect.retries import may_help

__all__ = ["acall", "call"]


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
def call(
    credentials: TogetherCredentials | str,
    operation: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    output_path: str | None = None,
    session_input: str | Sequence[str] | None = None,
) -> Any:
    """Send one operation of the API, such as `files.list`, and return its answer as plain JSON data.

    Secrets are masked in it, because Prefect may store it: the values of environment variables, a cluster's
    `kube_config`, and whatever secret was sent along.

    It leaves no job record. To start work that is paid for, use the task of its kind: a retry of this one pays again.

    A WebSocket session is held from its beginning to its end: `audio.connect_speech` speaks the text of `session_input`
    into `output_path` and answers with `path` and `bytes`; `realtime.connect` writes down the recording that lies there
    and answers with its `text`. They need the extra `realtime`.

    Args:
        credentials: name of the credentials block, or the block.
        operation: its name in `together_flows.api.OPERATIONS`.
        arguments: by the API's own names; path arguments too.
        output_path: where an answer of bytes is written; then the path is returned.
        session_input: what goes into a session: a text or a list of its pieces for `audio.connect_speech`; the path or
            URL of a recording for `realtime.connect`. No other operation takes it.

    Raises:
        ArgumentInvalid: there is no such operation, or an argument does not fit.
        SubmissionUnknown: the operation may not be repeated, and its answer was lost.
    """
    account = credentials_of(credentials)
    client = client_for(api_key=account.api_key, base_url=account.base_url)
    asked = _operation(operation, arguments or {}, output_path, session_input)
    if session_input:
        return converse(client, asked, session_input, output_path)
    if output_path is not None:
        return str(client.download(asked, output_path))
    return without_secrets(asked, to_jsonable_python(client.send(asked)))


@task(cache_policy=NO_CACHE, retry_condition_fn=may_help)
async def acall(
    credentials: TogetherCredentials | str,
    operation: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    output_path: str | None = None,
    session_input: str | Sequence[str] | None = None,
) -> Any:
    """The same as `call`, on the event loop."""
    account = await acredentials_of(credentials)
    client = async_client_for(api_key=account.api_key, base_url=account.base_url)
    asked = _operation(operation, arguments or {}, output_path, session_input)
    if session_input:
        return await aconverse(client, asked, session_input, output_path)
    if output_path is not None:
        return str(await client.download(asked, output_path))
    return without_secrets(asked, to_jsonable_python(await client.send(asked)))


def _operation(
    name: str, arguments: Mapping[str, Any], output_path: str | None, session_input: SessionInput | None
) -> Operation[Any]:
    """The operation, if what was given beside its arguments suits it."""
    if name not in OPERATIONS:
        raise ArgumentInvalid(f"{name!r} is not an operation.", mend="together_flows.api.OPERATIONS names them all.")
    asked = OPERATIONS[name].function(**arguments)
    check_session_input(asked, session_input)
    if asked.reply is not Reply.SOCKET and (asked.reply is Reply.BYTES) != (output_path is not None):
        raise ArgumentInvalid(
            f"{name} answers with {asked.reply}.",
            mend="Give output_path, so that the bytes are written there."
            if output_path is None
            else "Leave out output_path.",
        )
    return asked
