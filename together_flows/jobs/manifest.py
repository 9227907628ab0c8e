"""The size of manifests: they travel through XCom and artifacts, and what a job wrote may be of any size."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["PART_LIMIT", "small_part"]

#: Most bytes of JSON that a job's own output may take up in its manifest.
PART_LIMIT = 1_500


def small_part(name: str, value: Any) -> dict[str, Any]:
    """An entry of a manifest for what the job wrote, or, where that is large, an entry that says how large it is.

    Args:
        name: the entry's name; the other is called `<name>_bytes`.
        value: what the job wrote, as plain JSON data.
    """
    size = len(json.dumps(value, default=str).encode())
    return {name: value} if size <= PART_LIMIT else {name: None, f"{name}_bytes": size}
