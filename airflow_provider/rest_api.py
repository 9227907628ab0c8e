"""Airflow's own REST API, for what a task may not read from the database. It works without Airflow installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from together_flows.errors import AnswerInvalid, ConfigurationInvalid, ConnectionFailed, TogetherError

if TYPE_CHECKING:
    import httpx2

__all__ = ["AirflowApi", "NotInAirflow"]

#: Rows a page. Airflow caps it at its ``[api] maximum_page_limit``, 100 unless set.
_PAGE = 100
_SECONDS = 60.0
_TRIES = 4
_VERSION = "Is this the address of the API server of an Airflow 3.3 or newer?"
_MEND = "The user needs to read DAG runs and task instances."


class NotInAirflow(ConfigurationInvalid):
    """
    404: Airflow has no such thing, or this is not the address of an Airflow that could have it.

    It must not pass for "nothing": a task that is not seen cannot claim its job.
    """


@dataclass(frozen=True, kw_only=True)
class AirflowApi:
    """
    Read Airflow's REST API (``/api/v2``).

    With a user name it asks for a token at ``/auth/token``, where the auth managers that come with Airflow give one.
    With neither name nor token it asks there for a token for everybody, which only a development server gives.

    :param url: address of the API server, such as ``https://airflow.example.com``.
    :param username: whom to log in as.
    :param password: the user's password.
    :param token: a token, instead of a login.
    """

    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """
        One answer, decoded.

        :param path: below ``/api/v2``, with its parts quoted.
        :param params: of the query.
        :raises NotInAirflow: there is no such thing.
        :raises TogetherError: Airflow does not answer, or does not let this user read.
        """
        return self._decoded(
            self._sent("GET", f"/api/v2{path}", params=dict(params or {}), headers=self._authorization)
        )

    def rows(self, path: str, key: str, params: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """
        The rows of a list that is read page by page with a cursor, which holds also while rows come and go.

        :param path: below ``/api/v2``.
        :param key: of the rows in the answer.
        :param params: of the query.
        """
        cursor: str | None = ""
        while cursor is not None:
            answer = self.get(path, {**params, "limit": _PAGE, "cursor": cursor})
            if not isinstance(answer, dict) or not isinstance(answer.get(key), list) or "next_cursor" not in answer:
                raise AnswerInvalid(f"{self.url}/api/v2{path} gave no page of {key}.", mend=_VERSION)
            yield from answer[key]
            cursor = answer["next_cursor"] or None

    @cached_property
    def _client(self) -> httpx2.Client:
        import httpx2

        return httpx2.Client(base_url=self.url.rstrip("/"), timeout=_SECONDS)

    @cached_property
    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token or self._logged_in()}"}

    def _logged_in(self) -> str:
        login = {"username": self.username, "password": self.password}
        answer = self._sent("POST" if self.username else "GET", "/auth/token", json=login if self.username else None)
        token = self._decoded(answer).get("access_token")
        if not token:
            raise AnswerInvalid(f"{self.url}/auth/token gave no access_token.")
        return str(token)

    def _sent(self, method: str, path: str, **rest: Any) -> httpx2.Response:
        """An answer of any status. Reading is harmless, so what fails on the way is tried again."""
        import httpx2
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        tries = Retrying(
            stop=stop_after_attempt(_TRIES),
            wait=wait_random_exponential(multiplier=0.2, max=5.0),
            retry=retry_if_exception_type((httpx2.TransportError, _Busy)),
            reraise=True,
        )
        try:
            return tries(self._sent_once, method, path, **rest)
        except httpx2.TransportError as error:
            raise ConnectionFailed(
                f"Airflow at {self.url} cannot be reached: {error}.", mend="Is its address right, and does it run?"
            ) from None

    def _sent_once(self, method: str, path: str, **rest: Any) -> httpx2.Response:
        answer = self._client.request(method, path, **rest)
        if answer.status_code in (429, 502, 503, 504):
            raise _Busy(f"Airflow at {self.url} answered {answer.status_code}.", retryable=True)
        return answer

    def _decoded(self, answer: httpx2.Response) -> Any:
        place = f"Airflow at {self.url} answered {answer.status_code} to {answer.request.url.path}"
        if answer.status_code in (401, 403):
            raise ConfigurationInvalid(f"{place}: {_detail(answer)}.", mend=f"Check the user or the token. {_MEND}")
        if answer.status_code == 404:
            raise NotInAirflow(f"{place}: {_detail(answer)}.", mend=_VERSION)
        if not answer.is_success:
            raise TogetherError(f"{place}: {_detail(answer)}.", retryable=answer.status_code >= 500)
        try:
            return answer.json()
        except ValueError:
            raise AnswerInvalid(f"{place}, and not with JSON.", mend="Is this the address of its API server?") from None


class _Busy(TogetherError):
    """Airflow asks to come back later."""


def _detail(answer: httpx2.Response) -> str:
    try:
        told = answer.json()
    except ValueError:
        return answer.reason_phrase
    return str(told.get("detail", "")) if isinstance(told, dict) else answer.reason_phrase
