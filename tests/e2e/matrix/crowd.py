"""How many mapped tasks want the same at once, and where some of them die."""

from __future__ import annotations

import random

from tests.e2e.matrix.jobs import OPERATIONS, POINTS

#: Mapped tasks of each kind.
CROWD = 100
_SEED = 7


def deaths(kind: str) -> dict[str, str]:
    """Points of death for a third of the tasks of a kind, drawn at random, but the same every time."""
    draw = random.Random(f"{kind} {_SEED}")
    create, read = OPERATIONS[kind]
    points = list(POINTS.values())
    return {
        f"{kind}[{index}]": draw.choice(points).format(create=create, read=read)
        for index in sorted(draw.sample(range(CROWD), CROWD // 3))
    }
