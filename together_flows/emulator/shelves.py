"""What deployments use and share: secrets, of which only the name is ever shown, and volumes with their versions."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any, TypeVar

from together_flows.emulator.containers import DEPLOYMENTS
from together_flows.emulator.files import FILES, File
from together_flows.emulator.jobs import Job, JobKind, JobTable, Stage
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.world import ACCOUNT, World

__all__ = ["SECRETS", "VOLUMES", "Secret", "Volume", "by_id_or_name", "named_file", "new_secret", "new_volume"]


class Secret(Job, kw_only=True):
    """A secret.

    Attributes:
        digest: what is kept of its value, for nothing here has a use for the value itself.
    """

    name: str
    description: str
    digest: str
    updated: float

    def set_value(self, value: str) -> None:
        self.digest = hashlib.sha256(value.encode()).hexdigest()


class Volume(Job, kw_only=True):
    """A volume.

    Attributes:
        prefixes: what the names of its files begin with, version by version.
    """

    name: str
    prefixes: list[str]
    updated: float

    @property
    def version(self) -> int:
        return len(self.prefixes)


class _Secrets(JobKind[Secret]):
    name = "secret"
    noun = "Secret"
    active = frozenset()
    failure = "Failed"
    record = Secret

    def row(self, world: World, job: Secret, now: float) -> dict[str, Any]:
        return {
            "id": job.id,
            "object": "secret",
            "name": job.name,
            "description": job.description,
            "created_at": world.clock.iso(job.created),
            "updated_at": world.clock.iso(job.updated),
            "created_by": ACCOUNT,
            "last_updated_by": ACCOUNT,
        }


class _Volumes(JobKind[Volume]):
    name = "volume"
    noun = "Volume"
    active = frozenset()
    failure = "Failed"
    record = Volume

    def row(self, world: World, job: Volume, now: float) -> dict[str, Any]:
        return {
            "id": job.id,
            "object": "volume",
            "name": job.name,
            "type": "readOnly",
            "current_version": job.version,
            "content": {**_source(job, job.version), "files": _files(world, job.prefixes[-1], now)},
            "mounted_by": mounted_by(world, job, job.version),
            "version_history": {
                str(version): {
                    "version": version,
                    "content": _source(job, version),
                    "mounted_by": mounted_by(world, job, version),
                }
                for version in range(1, job.version)
            },
            "created_at": world.clock.iso(job.created),
            "updated_at": world.clock.iso(job.updated),
        }


SECRETS = _Secrets()
VOLUMES = _Volumes()

Named = TypeVar("Named", Secret, Volume)


def new_secret(world: World, *, name: str, value: str, description: str) -> Secret:
    """A new secret."""
    born = world.born()
    secret = Secret(
        id=str(uuid.uuid4()),
        created=born.created,
        visible=born.visible,
        stages=[Stage("stored", born.created)],
        name=name,
        description=description,
        digest="",
        updated=born.created,
    )
    secret.set_value(value)
    return secret


def new_volume(world: World, *, name: str, prefix: str) -> Volume:
    """A new volume in its first version."""
    born = world.born()
    return Volume(
        id=str(uuid.uuid4()),
        created=born.created,
        visible=born.visible,
        stages=[Stage("stored", born.created)],
        name=name,
        prefixes=[prefix],
        updated=born.created,
    )


def by_id_or_name(table: JobTable[Named], key: str) -> Named | None:
    """The secret or volume that is meant."""
    return table.find(key) or next((item for item in table if item.name == key), None)


def mounted_by(world: World, volume: Volume, version: int | None = None) -> list[str]:
    """The deployments that mount the volume, or this version of it."""
    return [
        deployment.id
        for deployment in world.table(DEPLOYMENTS)
        for mount in deployment.spec.volumes
        if mount.volume_id == volume.id and version in (None, mount.version)
    ]


def named_file(world: World, filename: str) -> File:
    """The newest file of this name in the project's storage, which is where the account's files are.

    Raises:
        Refusal: 404, there is none.
    """
    found = next((file for file in world.table(FILES) if file.filename == filename and file.uploaded), None)
    if found is None:
        raise Refusal(404, f"File not found: {filename}")
    return found


def _source(volume: Volume, version: int) -> dict[str, str]:
    return {"type": "files", "source_prefix": volume.prefixes[version - 1]}


def _files(world: World, prefix: str, now: float) -> list[dict[str, Any]]:
    newest: dict[str, File] = {}
    for file in world.table(FILES).visible(now):
        if file.uploaded and file.filename.startswith(prefix):
            newest.setdefault(file.filename, file)
    return [
        {"name": name, "size": file.bytes, "last_modified": world.clock.iso(file.created)}
        for name, file in sorted(newest.items())
    ]
