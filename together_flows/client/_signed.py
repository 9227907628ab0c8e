"""Downloads from signed addresses, such as that of a finished video. The account's key does not go along."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from together_flows.client._connection import Tuning, failures
from together_flows.client._download import Download, place_in
from together_flows.client._failure import ERROR_BODY_LIMIT, error_of
from together_flows.client._redaction import Redactor
from together_flows.client._storage import storage_reason
from together_flows.client._transfer import Transfer, safe_name
from together_flows.client.retry import Retries
from together_flows.errors import ApiError, TransferIncomplete

__all__ = ["download_signed"]

_NAME = "GET from storage"


def download_signed(url: str, target: str | Path, *, file_name: str | None = None, timeout: float = 60.0) -> Path:
    """Write what lies at a signed address to disk, in constant memory. A connection that breaks is resumed.

    Args:
        url: the address, as the API gave it. Such addresses are good for a while only.
        target: a file; or a folder, that is an existing one or a path that ends in a slash.
        file_name: the file's name in that folder; by default the one that the server gives, or the address's own.
        timeout: seconds without a byte after which the connection counts as broken.

    Returns:
        Where the file is.

    Raises:
        TransferIncomplete: the bytes could not be had whole, or the storage refused the address.
        ConnectionFailed: the storage could not be reached.
    """
    fallback = safe_name(urlsplit(url).path, fallback="download")
    tuning = Tuning(timeout=timeout, connect_timeout=5.0, max_connections=1, headers={}, transport=None)
    with tuning.storage_client(answer_timeout=timeout) as http:

        def opened(headers: Mapping[str, str]) -> httpx2.Response:
            with failures(_NAME, timeout):
                request = http.build_request("GET", url, headers=headers)
                response = http.send(request, stream=True, follow_redirects=True)
            if response.is_success:
                return response
            with closing(response):
                raise _refusal(response, timeout)

        wanted = Download(
            _NAME,
            opened,
            place=place_in(target, file_name=file_name, fallback=fallback),
            expected_size=None,
            timeout=timeout,
            retries=Retries(),
            transfer=Transfer(),
        )
        try:
            return wanted.run()
        except ApiError as error:
            raise TransferIncomplete(
                f"The storage refused to give the file: {error.message}",
                mend="Read the job again: the signed address may have expired, and the API gives a fresh one.",
            ) from error


def _refusal(response: httpx2.Response, timeout: float) -> ApiError:
    """The error that an answer stands for. Its message shows nothing of the address, which is a key to the file."""
    with failures(_NAME, timeout):
        body = next(response.iter_bytes(ERROR_BODY_LIMIT), b"")
    return error_of(_NAME, response.status_code, response.headers, storage_reason(body), redactor=Redactor())
