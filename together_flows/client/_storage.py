"""Object storage behind signed addresses: bytes go there without the account's key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from threading import Lock

import httpx2
import msgspec

from together_flows.client._connection import MAX_HOPS, Tuning, failures
from together_flows.client._failure import ERROR_BODY_LIMIT, error_of
from together_flows.client._redaction import Redactor
from together_flows.client.retry import Retries
from together_flows.errors import ApiError, TransferIncomplete

__all__ = ["Storage", "storage_reason"]

ANSWER_TIMEOUT = 300.0
"""Seconds that storage may take to answer once all bytes are there; it checks and joins them first."""

_NAME = "PUT to storage"


class Storage:
    """Puts bytes at signed addresses. Its connections carry no key, no cookie and no header of the caller."""

    def __init__(self, tuning: Tuning, retries: Retries) -> None:
        self._tuning = tuning
        self._retries = retries
        self._http: httpx2.Client | None = None
        self._opening = Lock()

    def put(
        self,
        url: str,
        blocks: Callable[[], Iterator[bytes]],
        size: int,
        *,
        headers: Mapping[str, str] | None = None,
        pause: Callable[[float], None],
    ) -> Mapping[str, str]:
        """Send bytes to an address, as often as it takes, and return the headers of the answer.

        Args:
            url: the signed address.
            blocks: begins the bytes anew for each attempt.
            size: how many bytes they are.
            headers: to send along.
            pause: waits the given seconds between attempts.

        Raises:
            ConnectionFailed: the network failed each time.
            TransferIncomplete: the storage refused the bytes.
        """
        driver = self._retries.driver(_NAME, repeatable=True, sleep=pause)
        try:
            return driver(lambda: self._put(url, blocks, size, headers or {}))
        except ApiError as error:
            raise TransferIncomplete(
                f"The storage refused the bytes: {error.message}",
                mend="Upload again: the signed address may have expired.",
            ) from error

    def close(self) -> None:
        """Close all connections."""
        if self._http is not None:
            self._http.close()

    def _put(
        self, url: str, blocks: Callable[[], Iterator[bytes]], size: int, headers: Mapping[str, str]
    ) -> Mapping[str, str]:
        announced = {"Content-Type": "application/octet-stream", "Content-Length": str(size), **headers}
        with failures(_NAME, ANSWER_TIMEOUT):
            for _ in range(MAX_HOPS):
                response = self._client().put(url, content=blocks(), headers=announced)
                if not response.has_redirect_location:
                    break
                url = str(response.url.join(response.headers["location"]))
        if not response.is_success:
            raise error_of(
                _NAME, response.status_code, response.headers, storage_reason(response.content), redactor=Redactor()
            )
        return response.headers

    def _client(self) -> httpx2.Client:
        with self._opening:
            if self._http is None:
                self._http = self._tuning.storage_client(answer_timeout=ANSWER_TIMEOUT)
            return self._http


def storage_reason(body: bytes) -> bytes:
    """Only the code and the message of a storage's XML: the rest repeats the signature."""
    text = body[:ERROR_BODY_LIMIT].decode(errors="replace")
    found = {tag: re.search(rf"<{tag}>([^<]*)</{tag}>", text) for tag in ("Code", "Message")}
    return msgspec.json.encode({tag.lower(): match.group(1) for tag, match in found.items() if match})
