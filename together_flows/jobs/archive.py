"""The archive of a trained model: the API sends it without a name, so its own first bytes tell what it is."""

from __future__ import annotations

from pathlib import Path

__all__ = ["named_by_content"]

_SUFFIXES = {b"\x1f\x8b": ".tar.gz", b"\x28\xb5\x2f\xfd": ".tar.zst"}
_LONGEST = max(len(magic) for magic in _SUFFIXES)


def named_by_content(archive: Path) -> Path:
    """Rename an archive that has no suffix so that its name says how it is compressed, and answer with its path.

    Args:
        archive: the file; one whose name ends in a known suffix already is left as it is.
    """
    if archive.name.endswith((".tar", *_SUFFIXES.values())):
        return archive
    with archive.open("rb") as stream:
        head = stream.read(_LONGEST)
    suffix = next((suffix for magic, suffix in _SUFFIXES.items() if head.startswith(magic)), ".tar")
    return archive.replace(archive.with_name(archive.name + suffix))
