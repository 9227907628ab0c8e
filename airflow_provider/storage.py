"""Files that lie anywhere: on this machine, or in object storage that Airflow has a connection to."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from together_flows.errors import ArgumentInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import ObjectStoragePath

    from together_flows.api import Operation
    from together_flows.client import Together
    from together_flows.inference.places import PlaceLike

__all__ = ["deliver", "download", "download_signed", "fetch", "is_url", "located", "written_to"]

_BLOCK = 1 << 20


def is_url(location: str) -> bool:
    """Whether a location is a URL such as ``s3://conn_id@bucket/key``, rather than a path of this machine."""
    return "://" in location


def located(location: str) -> PlaceLike:
    """
    A path of this machine, or what Airflow makes of a URL.

    :param location: a path, or a URL that ``ObjectStoragePath`` understands.
    """
    if not is_url(location):
        return location
    from airflow.sdk import ObjectStoragePath

    return ObjectStoragePath(location)


def fetch(location: str, folder: Path) -> Path:
    """
    A file of this machine with the content of a location: the file itself, or a copy of what a URL names.

    :param location: a path, or a URL that ``ObjectStoragePath`` understands.
    :param folder: where a copy goes. It keeps its name, for the suffix tells what it is.
    :raises ArgumentInvalid: there is no such file.
    """
    if not is_url(location):
        path = Path(location)
        if not path.is_file():
            raise ArgumentInvalid(f"There is no file {location}.", mend="Check the path, as the worker sees it.")
        return path
    from airflow.sdk import ObjectStoragePath

    source = ObjectStoragePath(location)
    copy = folder / source.name
    try:
        with _opened(source, "rb") as reader, copy.open("wb") as writer:
            shutil.copyfileobj(reader, writer, _BLOCK)
    except FileNotFoundError:
        raise ArgumentInvalid(f"There is no object {location}.", mend="Check the URL and its connection.") from None
    return copy


def deliver(file: Path, location: str) -> str:
    """
    Put a finished file where it is wanted, whole or not at all.

    :param file: a file of this machine.
    :param location: a path, or a URL that ``ObjectStoragePath`` understands.
    :returns: the location.
    """
    if is_url(location):
        from airflow.sdk import ObjectStoragePath

        target = ObjectStoragePath(location)
        with file.open("rb") as reader, _opened(target, "wb") as writer:
            shutil.copyfileobj(reader, writer, _BLOCK)
        return location
    path = Path(location)
    path.parent.mkdir(parents=True, exist_ok=True)
    if file.resolve() != path.resolve():
        part = path.with_name(f".{path.name}.part")
        shutil.copyfile(file, part)
        part.replace(path)
    return str(path)


@contextmanager
def written_to(location: str, scratch: Path) -> Iterator[Path]:
    """
    A path to write to, whose file is at the location when the block has ended well.

    :param location: a path, or a URL that ``ObjectStoragePath`` understands.
    :param scratch: where the file grows that goes to a URL.
    """
    if not is_url(location):
        path = Path(location)
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path
        return
    name = location.rstrip("/").rpartition("/")[2]
    local = scratch / name
    yield local
    deliver(local, location)


def download(
    client: Together, operation: Operation[bytes], location: str, *, archive: str | None = None
) -> dict[str, Any]:
    """
    Download a file in constant memory. A connection that breaks is resumed where it broke.

    :param client: sends the operation.
    :param operation: one that answers with bytes.
    :param location: a path, or a URL that ``ObjectStoragePath`` understands. One that ends in a slash is a folder; then
        the server names the file.
    :param archive: the name in that folder of an archive; the suffix that its content calls for is added.
    :returns: ``path`` and ``bytes`` of the file.
    """
    if not is_url(location):
        path = _whole_name(client.download(operation, location, file_name=archive), archive)
        return {"path": str(path), "bytes": path.stat().st_size}
    with tempfile.TemporaryDirectory(prefix="together-download-") as scratch:
        path = _whole_name(client.download(operation, f"{scratch}/", file_name=archive), archive)
        target = f"{location}{path.name}" if location.endswith("/") else location
        return {"path": deliver(path, target), "bytes": path.stat().st_size}


def download_signed(url: str, location: str, *, stem: str) -> dict[str, Any]:
    """
    Download in constant memory what lies at a signed address.

    :param url: the address.
    :param location: a path, or a URL that ``ObjectStoragePath`` understands. One that ends in a slash is a folder.
    :param stem: the name in that folder; the address's suffix is added.
    :returns: ``path`` and ``bytes`` of the file.
    """
    from together_flows.client import download_signed

    file_name = stem + PurePosixPath(urlsplit(url).path).suffix
    if not is_url(location):
        path = download_signed(url, location, file_name=file_name)
        return {"path": str(path), "bytes": path.stat().st_size}
    with tempfile.TemporaryDirectory(prefix="together-download-") as scratch:
        path = download_signed(url, f"{scratch}/", file_name=file_name)
        target = f"{location}{path.name}" if location.endswith("/") else location
        return {"path": deliver(path, target), "bytes": path.stat().st_size}


def _whole_name(path: Path, archive: str | None) -> Path:
    """The path of a download, whose name was completed if it is an archive that the caller has named in part."""
    from together_flows.jobs.archive import named_by_content

    return named_by_content(path) if archive is not None and path.name == archive else path


def _opened(path: ObjectStoragePath, mode: str) -> IO[bytes]:
    stream: IO[bytes] = path.open(mode)  # type: ignore[no-untyped-call] # Airflow's paths are untyped
    return stream
