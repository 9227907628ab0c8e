"""The code interpreter: run Python in a sandbox that remembers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from together_flows.api._model import WHOLE, Answer, Nested, Request, Rows, Time
from together_flows.api._operation import operation

__all__ = [
    "Execution",
    "Output",
    "Result",
    "Session",
    "SessionFile",
    "SessionList",
    "Sessions",
    "execute",
    "list_sessions",
]


class SessionFile(Request):
    """A file for the sandbox: its name, its content, and whether that is a plain `string` or `base64`."""

    name: str
    content: str
    encoding: Literal["string", "base64"] | str


class Output(Answer):
    """Something that the code put out.

    Attributes:
        type: `stdout`, `stderr`, `error`, `display_data` or `execute_result`.
        data: text, or for the last two what to show by its media type.
    """

    type: str
    data: str | Mapping[str, Any] | None = None


class Result(Answer):
    """What came of the code."""

    session_id: str
    status: str | None = None
    outputs: Sequence[Output] = ()


class Execution(Answer):
    """The answer to code: `data` if it ran, otherwise `errors`."""

    data: Annotated[Result | None, WHOLE] = None
    errors: Sequence[str | Mapping[str, Any]] = ()


class Session(Answer):
    """A sandbox that is still there."""

    id: str
    execute_count: int | None = None
    started_at: Time = None
    last_execute_at: Time = None
    expires_at: Time = None


class Sessions(Answer):
    """The sandboxes that are still there."""

    sessions: Rows[Session]


class SessionList(Answer):
    """The answer to a listing of sessions: `data`, or `errors`."""

    data: Annotated[Sessions | None, WHOLE] = None
    errors: Sequence[str | Mapping[str, Any]] = ()


@operation("POST", "/tci/execute")
def execute(
    *,
    code: str,
    language: Literal["python"] | str = "python",
    files: Sequence[Nested[SessionFile]] | None = None,
    session_id: str | None = None,
) -> Execution:
    """Run code in a sandbox. It is billed by the session. The API reports failures of the code within the answer.

    Args:
        code: what to run.
        language: `python` is the only one so far.
        files: files to put there first.
        session_id: sandbox of an earlier call, with all that it left there; a new one unless given.
    """


@operation("GET", "/tci/sessions")
def list_sessions() -> SessionList:
    """List the account's sandboxes."""
