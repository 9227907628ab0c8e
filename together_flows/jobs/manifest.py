"""The size of manifests: they travel through XCom and artifacts, and what a job wrote may be of any size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["PART_LIMIT", "small_part"]

#: Most bytes of JSON that a job's own output may take up in its manifest.
PART_LIMIT = 1_400


def small_part(name: str, output: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a manifest for what the job wrote: what fits, and how many entries were left out, if any were.

    Args:
        name: under which name it stands in the manifest; the number is under `<name>_left_out`.
        output: what the job wrote, as plain JSON data.
    """
    kept: dict[str, Any] = {}
    left = PART_LIMIT
    for key, value in output.items():
        size = len(json.dumps({key: value}, default=str).encode())
        if size <= left:
            kept[key] = value
            left -= size
    left_out = len(output) - len(kept)
    return {name: kept, f"{name}_left_out": left_out} if left_out else {name: kept}
