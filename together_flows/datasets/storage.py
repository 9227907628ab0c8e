"""Opens datasets wherever they lie: a local path, or an fsspec URL such as `s3://bucket/train.jsonl`.

Everything else in this package sees binary streams and local files. Targets appear under their name only when they are
complete: a reader never meets half a file, and a failed write leaves what was there before.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias

from together_flows.errors import ArgumentInvalid, ConfigurationInvalid

Location: TypeAlias = "str | os.PathLike[str]"
"""A local path or an fsspec URL."""

COPY_BYTES = 1 << 20

_URL_BLOCK_BYTES = 4 << 20
"""What is fetched in one request. Drivers that are left to themselves take up to 50 MiB, and hold two of them."""


def is_url(location: Location) -> bool:
    """Whether a location is an fsspec URL rather than a local path."""
    return "://" in os.fspath(location)


def name_of(location: Location) -> str:
    """The last part of a path or URL."""
    return os.fspath(location).replace(os.sep, "/").rstrip("/").rpartition("/")[2]


@contextlib.contextmanager
def open_source(location: Location) -> Iterator[IO[bytes]]:
    """Open a file for reading, unbuffered where it is local: callers read whole blocks.

    Raises:
        ArgumentInvalid: there is no such file, or it may not be read.
        ConfigurationInvalid: a URL was given and fsspec, or the storage's driver, is not installed.
    """
    with contextlib.ExitStack() as stack:
        try:
            if is_url(location):
                file_system, path = file_system_of(location)
                stream = stack.enter_context(file_system.open(path, "rb", block_size=_URL_BLOCK_BYTES))
            else:
                stream = stack.enter_context(Path(location).open("rb", buffering=0))
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            reason = error.strerror or "no such file"
            raise ArgumentInvalid(f"{os.fspath(location)} cannot be read: {reason}.", mend="Check the path.") from error
        yield stream


@contextlib.contextmanager
def open_target(location: Location) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes its name when the block ends well, and vanishes when it does not.

    A URL is written to a local temporary file first: object storage cannot rename, and some drivers keep half a file
    when a writer fails. Missing local folders are made.
    """
    if is_url(location):
        with _scratch_folder() as folder:
            spool = folder / "target"
            with spool.open("wb", buffering=COPY_BYTES) as stream:
                yield stream
            file_system, path = file_system_of(location)
            file_system.put_file(os.fspath(spool), path)
        return
    target = Path(location)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        with part.open("wb", buffering=COPY_BYTES) as stream:
            yield stream
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def local_copy(location: Location) -> Iterator[Path]:
    """A local path to a file, for readers that jump about in it: the file itself, or a temporary download of a URL."""
    if not is_url(location):
        path = Path(location)
        if not path.is_file():
            raise ArgumentInvalid(f"{path} cannot be read: no such file.", mend="Check the path.")
        yield path
        return
    with _scratch_folder() as folder:
        copy = folder / "source"
        with open_source(location) as source, copy.open("wb") as target:
            while block := source.read(COPY_BYTES):
                target.write(block)
        yield copy


@contextlib.contextmanager
def _scratch_folder() -> Iterator[Path]:
    import tempfile  # 10 ms of imports that only URLs need

    with tempfile.TemporaryDirectory(prefix="together-flows-") as folder:
        yield Path(folder)


def file_system_of(location: Location) -> tuple[Any, str]:
    """The fsspec file system that a URL names, and the path in it.

    Raises:
        ConfigurationInvalid: fsspec, or the storage's driver, is not installed.
    """
    url = os.fspath(location)
    try:
        import fsspec
    except ImportError as error:
        raise ConfigurationInvalid(
            f"{url} is a URL, and fsspec is not installed.",
            mend='Install the extra that reads object storage: pip install "together-flows[storage]".',
        ) from error
    try:
        file_system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        scheme = url.partition("://")[0]
        raise ConfigurationInvalid(
            f"fsspec cannot open {scheme}:// URLs here: {error}",
            mend='Check the URL, and install the driver of this storage beside "together-flows[storage]".',
        ) from error
    return file_system, path
