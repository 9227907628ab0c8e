"""Rows in, rows out: which files run next, what is written, and when it is too little."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from together_flows.datasets import MergeSummary, Shard
from together_flows.errors import JobCancelled, JobFailed, TogetherError
from together_flows.prefect.batching import Ran, Requests, allowed_failures, files_to_download, price_of, rounds

REQUESTS = Requests(model="m", max_rows=2)


class Service:
    """Answers the requests of a shard, as a batch job would. Those in `failing` fail, so many times."""

    def __init__(self, folder: Path, failing: dict[str, int] | None = None) -> None:
        self.folder = folder
        self.failing = dict(failing or {})
        self.ran: list[list[str]] = []

    def run(self, shard: Shard) -> Ran:
        ids = [json.loads(line)["custom_id"] for line in shard.path.read_text().splitlines()]
        self.ran.append(ids)
        output, errors = (self.folder / f"{name}-{len(self.ran)}.jsonl" for name in ("out", "err"))
        output.write_text("".join(map(self._answer, (i for i in ids if not self._fails(i)))))
        errors.write_text("".join(map(self._error, (i for i in ids if self._fails(i)))))
        for i in ids:
            self.failing[i] = self.failing.get(i, 0) - 1
        return Ran([output], [errors])

    def _fails(self, custom_id: str) -> bool:
        return self.failing.get(custom_id, 0) > 0

    def _answer(self, custom_id: str) -> str:
        body = {"choices": [{"message": {"content": custom_id}}]}
        return json.dumps({"custom_id": custom_id, "response": {"status_code": 200, "body": body}}) + "\n"

    def _error(self, custom_id: str) -> str:
        return json.dumps({"custom_id": custom_id, "error": {"message": "no"}}) + "\n"


def drive(
    folder: Path, rows: Any, run: Any, requests: Requests = REQUESTS
) -> tuple[MergeSummary, list[dict[str, Any]]]:
    target = folder / "results.jsonl"
    steps = rounds(rows, folder / "work", str(target), REQUESTS)
    shards: Sequence[Shard] = next(steps)
    try:
        while True:
            shards = steps.send([run(shard) for shard in shards])
    except StopIteration as end:
        return end.value, [json.loads(line) for line in target.read_text().splitlines()]


@pytest.fixture(autouse=True)
def _work_folder(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()


def test_rows_come_back_in_order_from_as_many_shards_as_they_need(tmp_path: Path) -> None:
    service = Service(tmp_path)
    summary, lines = drive(tmp_path, ["a", "b", "c", "d", "e"], service.run)
    assert [len(ids) for ids in service.ran] == [2, 2, 1]
    assert [line["index"] for line in lines] == [0, 1, 2, 3, 4]
    assert summary.succeeded == 5


def test_only_rows_that_came_to_nothing_are_sent_again(tmp_path: Path) -> None:
    service = Service(tmp_path, {"row-000000001": 1, "row-000000002": 5})
    summary, lines = drive(tmp_path, ["a", "b", "c"], service.run)
    assert service.ran[2:] == [["row-000000001", "row-000000002"]]
    assert (summary.succeeded, summary.failed) == (2, 1)
    assert [line["status"] for line in lines] == ["succeeded", "succeeded", "failed"]


def test_the_files_of_a_second_round_are_unlike_the_first_even_when_every_row_is_sent_again(tmp_path: Path) -> None:
    service, digests = Service(tmp_path, {"row-000000000": 1}), []

    def run(shard: Shard) -> Ran:
        digests.append(shard.sha256)
        return service.run(shard)

    drive(tmp_path, ["a"], run)
    assert len(set(digests)) == 2


def test_what_an_expired_job_left_is_kept_and_the_rest_sent_again(tmp_path: Path) -> None:
    service = Service(tmp_path)

    def run(shard: Shard) -> Ran:
        ran = service.run(shard)
        if len(service.ran) > 1:
            return ran
        first = ran.outputs[0].read_text().splitlines(keepends=True)[0]
        ran.outputs[0].write_text(first)
        return Ran(ran.outputs, ran.errors, JobFailed("expired", retryable=True))

    summary, _ = drive(tmp_path, ["a", "b"], run)
    assert service.ran == [["row-000000000", "row-000000001"], ["row-000000001"]]
    assert summary.succeeded == 2


@pytest.mark.parametrize("error", [JobCancelled("by somebody"), TogetherError("cannot look at it", retryable=True)])
def test_a_job_that_may_still_run_or_was_cancelled_is_not_run_again_and_its_results_are_written(
    tmp_path: Path, error: TogetherError
) -> None:
    service = Service(tmp_path)

    def run(shard: Shard) -> Ran:
        ran = service.run(shard)
        return Ran(ran.outputs, ran.errors, error) if len(service.ran) == 1 else Ran(error=error)

    with pytest.raises(type(error)):
        drive(tmp_path, ["a", "b", "c"], run)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["succeeded", "succeeded", "missing"]
    assert len(service.ran) == 2


@pytest.mark.parametrize(
    ("rows", "most", "share", "allowed"),
    [(10, None, None, 9), (10, 3, None, 3), (10, None, 0.25, 2), (10, 3, 0.1, 1), (1, 5, None, 0), (10, 0, None, 0)],
)
def test_how_many_rows_may_come_to_nothing(rows: int, most: int | None, share: float | None, allowed: int) -> None:
    assert allowed_failures(rows, most, share) == allowed


def test_results_are_looked_for_in_a_manifest_or_in_the_row_of_a_job_that_failed() -> None:
    assert files_to_download({"output_file_id": "o", "error_file_id": None}) == ("o", None)
    failed = {"error": {"type": "JobFailed", "message": "x", "retryable": True}, "status": {"error_file_id": "e"}}
    assert files_to_download({"reference": "batch:1", **failed}) == (None, "e")


def test_the_price_counts_prompts_of_all_shards_and_answers_as_far_as_they_are_bounded(tmp_path: Path) -> None:
    from together_flows.api.models import Model

    def price(defaults: dict[str, Any] | None) -> float:
        requests = Requests(model="m", max_rows=2, defaults=defaults)
        batch = requests.prepared(["word " * 100] * 4, tmp_path / f"batch-{defaults}")
        steps = price_of(batch.shards, requests)
        next(steps)
        with pytest.raises(StopIteration) as end:
            steps.send([Model.model_validate({"id": "m", "pricing": {"input": 1.0, "output": 10.0}})])
        return float(end.value.value.usd)

    assert price({"max_tokens": 1_000}) - price(None) == pytest.approx(4 * 1_000 * 10 / 1e6, rel=0.01)
    assert price(None) > 0
