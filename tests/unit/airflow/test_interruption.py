"""Where a task may be stopped, and where not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider.interruption import Interruption, TaskKilled


def interrupted(interruption: Interruption, *steps: Callable[[], object]) -> list[int]:
    """Run steps where interruption is allowed, and tell which of them came to their end before it struck."""
    done: list[int] = []

    def run() -> None:
        with interruption.allowed():
            for number, step in enumerate(steps):
                step()
                done.append(number)

    with pytest.raises(TaskKilled):
        run()
    return done


def nothing() -> None:
    """A step."""


def test_a_request_stops_code_that_allows_it_right_there() -> None:
    interruption = Interruption()
    assert interrupted(interruption, nothing, interruption.request, nothing) == [0]


def test_a_request_waits_until_the_next_place_that_allows_it() -> None:
    interruption = Interruption()
    interruption.request()  # in the middle of a creation, say
    assert interrupted(interruption, nothing) == []


def test_a_shielded_function_runs_to_its_end_first() -> None:
    interruption = Interruption()
    written: list[str] = []

    @interruption.shielded
    def write() -> None:
        interruption.request()
        written.append("the whole line")

    assert interrupted(interruption, write, nothing) == []
    assert written == ["the whole line"]


def test_a_function_that_fails_under_the_shield_leaves_the_place_as_it_was() -> None:
    interruption = Interruption()

    @interruption.shielded
    def fail() -> None:
        raise OSError

    def try_it() -> None:
        with pytest.raises(OSError):
            fail()

    assert interrupted(interruption, try_it, interruption.request, nothing) == [0]


def test_what_stops_a_task_is_no_error_that_code_in_between_handles() -> None:
    assert not issubclass(TaskKilled, Exception)
