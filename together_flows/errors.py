"""The one tree of errors. Everything this package raises on purpose is a `TogetherError`.

Two facts stand on every error, because unattended pipelines act on them: `retryable` says whether trying the same thing
again can help, and `mend` says what a person should change. No error carries a secret: messages are built from
responses and arguments that were redacted before they got here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

__all__ = [
    "AnswerInvalid",
    "ApiError",
    "ArgumentInvalid",
    "AuthenticationFailed",
    "BadRequest",
    "BudgetExceeded",
    "ConfigurationInvalid",
    "Conflict",
    "ConnectionFailed",
    "DatasetInvalid",
    "EndpointCreationClosed",
    "GateNotPassed",
    "JobCancelled",
    "JobFailed",
    "NotFound",
    "PaymentRequired",
    "PermissionDenied",
    "RateLimited",
    "ServerFailed",
    "SubmissionUnknown",
    "TogetherError",
    "TransferIncomplete",
    "UnprocessableRequest",
    "WaitTimeout",
]


class TogetherError(Exception):
    """The root of every error raised by together_flows.

    Attributes:
        retryable: whether the same call, made again later, can succeed without anybody changing anything.
        mend: what to do about it, in one sentence; empty when the message says it all.
        last_words: what became of the task's remote jobs and what a retry does, one line each; empty where there is no
            task. It comes last in the text, and so last in a traceback.
    """

    retryable: bool = False
    last_words: str = ""

    def __init__(self, message: str, *, mend: str = "", retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        text = f"{self.message} {self.mend}".rstrip()
        return f"{text}\n{self.last_words}" if self.last_words else text

    def __reduce__(self) -> tuple[Any, ...]:
        # Orchestrators pickle errors between processes. The usual way calls the class with the message alone, which
        # fails for every class that requires more.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[TogetherError], args: tuple[Any, ...], state: dict[str, Any]) -> TogetherError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ConfigurationInvalid(TogetherError):
    """A setting is missing or malformed: no API key, a base URL that is none, an unknown connection."""


class ArgumentInvalid(TogetherError, ValueError):
    """An argument was refused locally, before anything was sent. The message names each field and what is allowed."""


class DatasetInvalid(TogetherError, ValueError):
    """A dataset breaks the rules of its purpose.

    Attributes:
        problems: every problem found, in the order of the file; each says where it is and how to mend it.
    """

    shown: ClassVar[int] = 20

    def __init__(self, message: str, *, problems: Iterable[object] = (), mend: str = "") -> None:
        self.problems = tuple(problems)
        lines = [f"  {problem}" for problem in self.problems[: self.shown]]
        if len(self.problems) > self.shown:
            lines.append(f"  … and {len(self.problems) - self.shown} more")
        super().__init__("\n".join([message, *lines]), mend=f"\n{mend}" if mend and lines else mend)


class ConnectionFailed(TogetherError):
    """The network failed: no connection, a time-out, or an answer cut short.

    Attributes:
        sent: whether the server may have received the request. `False` only when it certainly has not.
    """

    retryable = True

    def __init__(self, message: str, *, sent: bool = True, mend: str = "") -> None:
        super().__init__(message, mend=mend)
        self.sent = sent


class AnswerInvalid(TogetherError):
    """The server answered with success but not with what the operation promises: no JSON, or a required id is missing.

    It may have done what was asked.
    """

    retryable = True


class ApiError(TogetherError):
    """The API answered with an error status.

    Attributes:
        status_code: HTTP status.
        code: the API's own error code, such as `"endpoints_v1_create_access_disabled"`; empty when it sent none.
        error_type: the API's `type`, such as `"invalid_request_error"`; empty when it sent none.
        param: the request field that the API blames; empty when it names none.
        request_id: the `x-request-id` to quote to Together's support; empty when none was sent.
        retry_after: seconds that the server asked to wait; `None` when it did not ask.
        body: the decoded body, redacted.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        code: str = "",
        error_type: str = "",
        param: str = "",
        request_id: str = "",
        retry_after: float | None = None,
        body: Any = None,
        mend: str = "",
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, mend=mend, retryable=retryable)
        self.status_code = status_code
        self.code = code
        self.error_type = error_type
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after
        self.body = body


class BadRequest(ApiError):
    """400: the API refused the request's content."""


class AuthenticationFailed(ApiError):
    """401: the key is missing, wrong or revoked."""


class PaymentRequired(ApiError):
    """402: the account's balance or spending limit does not cover the request."""


class PermissionDenied(ApiError):
    """403: the key may not do this, or (for inference) the prompt and `max_tokens` exceed the model's context."""


class EndpointCreationClosed(PermissionDenied):
    """403 `endpoints_v1_create_access_disabled`: v1 dedicated endpoints can no longer be created or restarted."""


class NotFound(ApiError):
    """404: no such object, model or path."""


class Conflict(ApiError):
    """409: it exists already, or its state does not allow this."""


class UnprocessableRequest(ApiError):
    """422: the request is well-formed but the API cannot act on it."""


class RateLimited(ApiError):
    """429: too many requests for the account's present limits. See `retry_after`."""

    retryable = True


class ServerFailed(ApiError):
    """5xx: the API failed or is overloaded (503)."""

    retryable = True


class TransferIncomplete(TogetherError):
    """A download or upload ended before all bytes had arrived, and could not be resumed."""

    retryable = True


class SubmissionUnknown(TogetherError):
    """A paid job may have been created, the answer is lost, and it cannot be told which job it is.

    It is raised instead of sending the request again, because that could bill twice.
    """


class BudgetExceeded(TogetherError):
    """The estimated price is above the budget, or the account may not spend that much. Nothing was submitted.

    Attributes:
        estimate: estimated price in US dollars.
        budget: the limit that was exceeded, in US dollars.
    """

    def __init__(self, message: str, *, estimate: float, budget: float, mend: str = "") -> None:
        super().__init__(message, mend=mend)
        self.estimate = estimate
        self.budget = budget


class GateNotPassed(TogetherError):
    """The tuned model did not beat the base model by the required margin, so nothing was deployed."""


class JobFailed(TogetherError):
    """A remote job ended without a result. The message is the job's own.

    Attributes:
        reference: `kind:id` of the job.
        status: the job's last status row as the API sent it.
    """

    def __init__(
        self,
        message: str,
        *,
        reference: str = "",
        status: Mapping[str, Any] | None = None,
        mend: str = "",
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, mend=mend, retryable=retryable)
        self.reference = reference
        self.status = dict(status or {})


class JobCancelled(JobFailed):
    """A remote job was cancelled by somebody other than this task."""


class WaitTimeout(TogetherError):
    """The wait for a job passed its deadline. The message says whether the job was cancelled.

    Attributes:
        reference: `kind:id` of the job.
    """

    def __init__(self, message: str, *, reference: str = "", mend: str = "") -> None:
        super().__init__(message, mend=mend)
        self.reference = reference
