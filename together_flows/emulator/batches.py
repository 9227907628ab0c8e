"""Batches: every line of a file answered, in an order of the service's own, with the bad lines in a file apart."""

from __future__ import annotations

import math
import random
import time
import uuid
from array import array
from pathlib import Path
from typing import IO, Any

import msgspec

from together_flows.emulator.dataset_check import Line, read_lines
from together_flows.emulator.files import FILES, File, content_path, publish
from together_flows.emulator.inference import (
    ChatRequest,
    CompletionRequest,
    chat,
    chat_body,
    complete,
    completion_body,
    read_body,
)
from together_flows.emulator.jobs import Job, JobKind, Stage
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.serving import serve
from together_flows.emulator.world import ACCOUNT, World

__all__ = ["BATCHES", "ENDPOINTS_SERVED", "Batch", "new_batch"]

MAX_LINES, MAX_BYTES, MAX_CUSTOM_ID = 50_000, 100 * 2**20, 64
"""Requests a file, bytes a file, characters of a custom_id: as documented."""

ENDPOINTS_SERVED = ("/v1/chat/completions", "/v1/completions")

VALIDATING_SECONDS, BASE_SECONDS, SECONDS_PER_LINE, MAX_SECONDS = 5.0, 10.0, 0.45, 3600.0
DEADLINE_SECONDS = 24 * 3600.0

_ANSWERED, _REFUSED = ord("+"), ord("-")


class Batch(Job, kw_only=True):
    """A batch.

    Attributes:
        lines: requests in its file, an estimate until they are counted.
        output_file_id: where the answers go; shown when there are any.
        error_file_id: where the refusals go; shown when there are any.
    """

    input_file_id: str
    file_size: int
    endpoint: str
    model_id: str
    lines: int
    output_file_id: str
    error_file_id: str

    def progress(self, now: float) -> float:
        """Percent done, by the clock."""
        if self.status(now) == "COMPLETED":
            return 100.0
        began = self.created + VALIDATING_SECONDS
        ended = next((stage.at for stage in self.stages if stage.status in _ENDED), math.inf)
        share = (min(now, ended) - began) / max(1e-9, self.planned_end - began)
        return round(100 * min(0.99, max(0.0, share)), 2)


_ENDED = ("FAILED", "EXPIRED", "CANCELLED")


class _Worked(msgspec.Struct):
    """What the worker found and did.

    Attributes:
        error: why the file as a whole is refused.
        outcomes: a "+" or "-" for each line, in the order in which they were answered.
    """

    error: str = ""
    lines: int = 0
    model: str = ""
    outcomes: bytes = b""


class _Batches(JobKind[Batch]):
    name = "batch"
    noun = "Batch job"
    active = frozenset({"VALIDATING", "IN_PROGRESS"})
    failure = "FAILED"
    tick = 1.0
    record = Batch

    def row(self, world: World, job: Batch, now: float) -> dict[str, Any]:
        status = job.stage(now)
        row: dict[str, Any] = {
            "id": job.id,
            "user_id": ACCOUNT,
            "input_file_id": job.input_file_id,
            "file_size_bytes": job.file_size,
            "status": status.status,
            "job_deadline": world.clock.iso(job.created + DEADLINE_SECONDS),
            "created_at": world.clock.iso(job.created),
            "endpoint": job.endpoint,
            "progress": job.progress(now),
        }
        if job.model_id:
            row["model_id"] = job.model_id
        if status.status in self.active:
            return row
        row["completed_at"] = world.clock.iso(status.at)
        for field in ("output_file_id", "error_file_id"):
            if getattr(job, field) in world.table(FILES):
                row[field] = getattr(job, field)
        if job.error:
            row["error"] = job.error
        return row

    def work(self, world: World, job: Batch) -> _Worked:
        source = content_path(world, job.input_file_id)
        try:
            index = _Index(source)
        except (Refusal, OSError) as error:
            return _Worked(error=error.message if isinstance(error, Refusal) else "The input file is gone.")
        outcomes = _answer_all(world, job, source, index)
        return _Worked(lines=len(index.offsets), model=index.model, outcomes=outcomes)

    def settle(self, world: World, job: Batch, result: _Worked, now: float) -> None:
        job.lines = result.lines or job.lines
        job.model_id = job.model_id or result.model
        world.path("work", job.id).write_bytes(result.outcomes)
        if job.status(now) not in self.active:
            _publish(world, job, _rows_done(job, now), at=job.stage(now).at)
        elif result.error:
            job.error = result.error
            job.stages = [job.stages[0], Stage("FAILED", max(job.created + VALIDATING_SECONDS, now))]
        else:
            end = max(job.planned_end, now)
            job.stages.append(Stage("COMPLETED", end))
            _publish(world, job, len(result.outcomes), at=end)

    def ended_early(self, world: World, job: Batch, now: float) -> None:
        if job.computed:
            _publish(world, job, _rows_done(job, now), at=now)


BATCHES = _Batches()


def new_batch(world: World, file: File, *, endpoint: str, model_id: str) -> Batch:
    """A new batch over an input file."""
    born = world.born()
    lines = file.report.nlines or file.bytes // 400
    working = BASE_SECONDS + SECONDS_PER_LINE * lines
    return Batch(
        id=str(uuid.uuid4()),
        created=born.created,
        visible=born.visible,
        stages=[Stage("VALIDATING", born.created), Stage("IN_PROGRESS", born.created + VALIDATING_SECONDS)],
        computed=False,
        planned_end=born.created + VALIDATING_SECONDS + min(MAX_SECONDS, working),
        input_file_id=file.id,
        file_size=file.bytes,
        endpoint=endpoint,
        model_id=model_id,
        lines=lines,
        output_file_id=f"file-{uuid.uuid4()}",
        error_file_id=f"file-{uuid.uuid4()}",
    )


class _Index:
    """Where each line of the input begins, and which custom_ids come twice.

    Raises:
        Refusal: the file as a whole cannot be a batch.
    """

    def __init__(self, source: Path) -> None:
        self.offsets = array("Q")
        self.repeated: set[int] = set()
        self.model = ""
        if source.stat().st_size > MAX_BYTES:
            raise Refusal(400, f"The input file is larger than {MAX_BYTES // 2**20} MB.")
        seen: set[Any] = set()
        try:
            for line in read_lines(source):
                self._note(line, seen)
        except (ValueError, msgspec.MsgspecError) as error:
            raise Refusal(400, f"The input file is not valid JSON lines: {error}") from None
        if not self.offsets:
            raise Refusal(400, "The input file has no requests.")

    def _note(self, line: Line, seen: set[Any]) -> None:
        try:
            row = msgspec.json.decode(line.content, type=_Request)
        except msgspec.MsgspecError as error:
            raise ValueError(f"line {line.number}: {error}") from None
        if len(self.offsets) == MAX_LINES:
            raise Refusal(400, f"The input file has more than {MAX_LINES} requests.")
        if isinstance(row.custom_id, str):
            if row.custom_id in seen:
                self.repeated.add(len(self.offsets))
            seen.add(row.custom_id)
        if not self.offsets and isinstance(row.body, dict):
            self.model = str(row.body.get("model", ""))
        self.offsets.append(line.offset)


class _Request(msgspec.Struct):
    custom_id: Any = None
    body: Any = None


def _answer_all(world: World, job: Batch, source: Path, index: _Index) -> bytes:
    """Answers the lines in an order of its own, until all are answered or nobody wants them any more."""
    order = list(range(len(index.offsets)))
    random.Random(job.input_file_id).shuffle(order)  # noqa: S311 - an order, not a secret
    outcomes = bytearray()
    with (
        source.open("rb") as lines,
        content_path(world, job.output_file_id).open("wb") as answers,
        content_path(world, job.error_file_id).open("wb") as refusals,
    ):
        for number in order:
            if world.closing or job.status(world.clock.now()) not in BATCHES.active:
                break
            lines.seek(index.offsets[number])
            row = msgspec.json.decode(lines.readline(), type=_Request)
            time.sleep(0)  # lets the event loop have the interpreter, so that requests are answered meanwhile
            outcomes.append(_answer_line(world, job, row, number in index.repeated, answers, refusals))
    return bytes(outcomes)


def _answer_line(
    world: World, job: Batch, row: _Request, repeated: bool, answers: IO[bytes], refusals: IO[bytes]
) -> int:
    try:
        _check_custom_id(row.custom_id, repeated)
        body = _answer(world, job.endpoint, row.body)
    except Refusal as refusal:
        error = {"message": refusal.message, "code": refusal.code or refusal.type}
        refusals.write(msgspec.json.encode({"custom_id": row.custom_id, "error": error}) + b"\n")
        return _REFUSED
    response = {"status_code": 200, "body": body}
    answers.write(msgspec.json.encode({"custom_id": row.custom_id, "response": response}) + b"\n")
    return _ANSWERED


def _check_custom_id(custom_id: Any, repeated: bool) -> None:
    if not isinstance(custom_id, str) or not custom_id:
        raise Refusal(400, "custom_id must be a string that is not empty.", code="invalid_custom_id")
    if len(custom_id) > MAX_CUSTOM_ID:
        raise Refusal(400, f"custom_id must have at most {MAX_CUSTOM_ID} characters.", code="invalid_custom_id")
    if repeated:
        raise Refusal(400, f"custom_id {custom_id} stands in more than one line.", code="duplicate_custom_id")


def _answer(world: World, endpoint: str, body: Any) -> dict[str, Any]:
    if endpoint == "/v1/completions":
        request = read_body(body, CompletionRequest)
        served = serve(world, request.model)
        return completion_body(complete(world, request, served, served.mind(world)), echo=request.echo)
    conversation = read_body(body, ChatRequest)
    served = serve(world, conversation.model)
    return chat_body(chat(world, conversation, served, served.mind(world)))


def _rows_done(job: Batch, now: float) -> int:
    """How many lines were answered by the clock when the batch ended early."""
    return math.floor(job.lines * job.progress(now) / 100)


def _publish(world: World, job: Batch, rows: int, *, at: float) -> None:
    """Shows the account the answers and refusals of the first so many lines."""
    path = world.path("work", job.id)
    outcomes = path.read_bytes()[:rows] if path.exists() else b""
    for file_id, outcome, word in ((job.output_file_id, _ANSWERED, "output"), (job.error_file_id, _REFUSED, "error")):
        _keep_lines(content_path(world, file_id), outcomes.count(outcome))
        publish(world, file_id, filename=f"{job.id}_{word}.jsonl", purpose="batch-generated", visible=at)


def _keep_lines(path: Path, count: int) -> None:
    if not path.exists():
        return
    with path.open("r+b") as file:
        for _ in range(count):
            file.readline()
        file.truncate(file.tell())
