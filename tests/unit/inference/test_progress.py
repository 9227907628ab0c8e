"""Progress in words and numbers."""

from __future__ import annotations

import pytest

from together_flows.inference.progress import Progress


def test_the_line_says_what_is_done_and_how_long_the_rest_takes() -> None:
    progress = Progress(
        settled=600, failed=3, resumed=200, total=1000, in_flight=16, limit=32, cost_usd=1.234, seconds=120
    )
    assert progress.share == pytest.approx(0.6)
    assert progress.seconds_remaining == pytest.approx(120)
    assert progress.describe() == (
        "600 of 1000 (60%) rows are done; 3 failed; 16 in flight, of at most 32; $1.23 spent; about 2 min left."
    )


def test_nothing_is_promised_while_the_rows_are_not_counted_or_none_is_done() -> None:
    assert Progress(settled=5, seconds=1).seconds_remaining is None
    assert Progress(settled=5, resumed=5, total=10, seconds=1).seconds_remaining is None
    assert Progress(settled=5, limit=4).describe() == "5 rows are done; 0 in flight, of at most 4."


@pytest.mark.parametrize(("left", "words"), [(60, "60 s"), (600, "10 min"), (36_000, "10.0 h")])
def test_the_rest_is_said_in_the_unit_that_people_would_use(left: float, words: str) -> None:
    assert f"about {words} left" in Progress(settled=1, total=2, seconds=left).describe()
