"""Where rows come from and results go to: a local path, an fsspec URL, or a path object that brings its file system.

Airflow's `ObjectStoragePath` and `universal_pathlib` paths are of the last sort: they know the credentials themselves.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, runtime_checkable

from together_flows.datasets.storage import (
    COPY_BYTES,
    Location,
    file_system_of,
    is_url,
    name_of,
    open_source,
    open_target,
)
from together_flows.errors import ArgumentInvalid

__all__ = ["Place", "PlaceLike", "RemotePlace", "place_of"]


@runtime_checkable
class _RemotePath(Protocol):
    """A path object that brings its own file system."""

    @property
    def fs(self) -> Any: ...

    @property
    def path(self) -> str: ...


PlaceLike: TypeAlias = "Location | _RemotePath"


class Place:
    """A file or a folder on this machine."""

    is_remote = False

    def __init__(self, location: Location) -> None:
        self._location = os.fspath(location)

    def __str__(self) -> str:
        return self._location

    @property
    def name(self) -> str:
        """The last part."""
        return name_of(self._location)

    def sibling(self, name: str) -> Place:
        """Another place in the same folder."""
        return Place(Path(self._location).with_name(name))

    def child(self, name: str) -> Place:
        """A place in this folder."""
        return Place(Path(self._location) / name)

    def children(self) -> list[Place]:
        """What is in this folder, by name; nothing if there is no such folder."""
        folder = Path(self._location)
        return [Place(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []

    def exists(self) -> bool:
        """Whether there is something."""
        return Path(self._location).exists()

    def open(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Open the file for reading."""
        return open_source(self._location)

    def replacing(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Open the file for writing. It takes its name only when the block ends well."""
        return open_target(self._location)

    def take(self, file: Path) -> None:
        """Become a copy of a file of this machine, in constant memory."""
        with self.replacing() as target, file.open("rb") as source:
            shutil.copyfileobj(source, target, COPY_BYTES)

    def remove(self) -> None:
        """Remove it, with all that is in it. Nothing happens if it is not there."""
        path = Path(self._location)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class RemotePlace(Place):
    """A file or a folder in object storage.

    Args:
        file_system: an fsspec file system.
        path: the path in it.
        shown: how people write the place.
    """

    is_remote = True

    def __init__(self, file_system: Any, path: str, shown: str) -> None:
        super().__init__(shown.rstrip("/"))
        self._file_system = file_system
        self._path = path.rstrip("/")

    def sibling(self, name: str) -> Place:
        """Another place in the same folder."""
        return RemotePlace(self._file_system, _beside(self._path, name), _beside(self._location, name))

    def child(self, name: str) -> Place:
        """A place in this folder."""
        return RemotePlace(self._file_system, f"{self._path}/{name}", f"{self._location}/{name}")

    def children(self) -> list[Place]:
        """What is in this folder, by name; nothing if there is no such folder."""
        self._file_system.invalidate_cache()
        try:
            names = sorted(name_of(path) for path in self._file_system.ls(self._path, detail=False))
        except FileNotFoundError:
            return []
        return [self.child(name) for name in names]

    def exists(self) -> bool:
        """Whether there is something."""
        self._file_system.invalidate_cache()
        return bool(self._file_system.exists(self._path))

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the file for reading."""
        try:
            stream = self._file_system.open(self._path, "rb")
        except FileNotFoundError:
            raise ArgumentInvalid(f"There is nothing at {self}.", mend="Check the URL.") from None
        with stream:
            yield stream

    @contextlib.contextmanager
    def replacing(self) -> Iterator[IO[bytes]]:
        """Open the file for writing. It grows on this machine and is put there when the block ends well."""
        import tempfile

        with tempfile.TemporaryDirectory(prefix="together-flows-") as folder:
            spool = Path(folder) / "target"
            with spool.open("wb") as stream:
                yield stream
            self.take(spool)

    def take(self, file: Path) -> None:
        """Become a copy of a file of this machine, in constant memory."""
        # Some file systems want the folder; object storage has none and does not mind.
        self._file_system.makedirs(self._path.rpartition("/")[0] or "/", exist_ok=True)
        self._file_system.put_file(os.fspath(file), self._path)

    def remove(self) -> None:
        """Remove it, with all that is in it. Nothing happens if it is not there."""
        with contextlib.suppress(FileNotFoundError):
            self._file_system.rm(self._path, recursive=True)


def place_of(location: PlaceLike) -> Place:
    """The place that a path, a URL or a path object means.

    Raises:
        ConfigurationInvalid: a URL whose storage cannot be reached from here.
    """
    if isinstance(location, _RemotePath):
        return RemotePlace(location.fs, location.path, str(location))
    if not is_url(location):
        return Place(location)
    file_system, path = file_system_of(location)
    return RemotePlace(file_system, path, os.fspath(location))


def _beside(path: str, name: str) -> str:
    return f"{path.rpartition('/')[0]}/{name}"
