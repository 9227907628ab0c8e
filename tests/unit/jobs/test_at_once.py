"""Work for many items at the same time."""

from __future__ import annotations

from contextvars import ContextVar
from threading import Barrier

import pytest

from together_flows.jobs.at_once import each_at_once

told: ContextVar[str] = ContextVar("told")


def test_items_are_worked_on_at_once_and_answered_in_their_order() -> None:
    together = Barrier(8, timeout=10)

    def work(item: int) -> int:
        together.wait()
        return -item

    assert each_at_once(range(16), work) == [-item for item in range(16)]


def test_work_knows_the_context_of_its_caller() -> None:
    told.set("here")
    assert each_at_once([1], lambda _: told.get()) == ["here"]


def test_what_the_work_raises_is_raised_when_all_of_it_is_done() -> None:
    seen: list[int] = []

    def work(item: int) -> None:
        seen.append(item)
        if item == 0:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        each_at_once(range(3), work)
    assert sorted(seen) == [0, 1, 2]
