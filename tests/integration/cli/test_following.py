"""`together-flows validate`, `upload`, `wait` and `end`: one file and one job from a shell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from together_flows import Together
from together_flows.api import endpoints, fine_tunes
from together_flows.emulator import Emulator

from .conftest import FAST, SLOW, CommandProcess, run_command

MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"


def write_training(name: str = "train.jsonl") -> str:
    rows = [{"prompt": f"Parcel {number}?", "completion": f"Depot {number % 5}."} for number in range(30)]
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def new_fine_tune(emulator: Emulator, *, speed: float = FAST) -> str:
    file = run_command("upload", write_training(), "--poll-interval", "0.05").json
    emulator.settings(speed=speed)
    with Together() as client:
        return client.send(fine_tunes.create(training_file=file["file_id"], model=MODEL)).id


def test_a_good_file_is_described_and_a_bad_one_explained_line_by_line(emulator: Emulator) -> None:
    Path("bad.jsonl").write_text('{"text": "One."}\n{"text": 2}\nnonsense\n')

    good, bad = run_command("validate", write_training()), run_command("validate", "bad.jsonl")
    as_json = run_command("validate", "bad.jsonl", "--json")

    assert (good.code, bad.code, as_json.code) == (0, 1, 1)
    assert "30 rows" in good.out
    assert [line.split(":")[0].split(",")[0] for line in bad.out.splitlines()] == ["line 2", "line 3"]
    assert "2 problem(s)" in bad.err
    assert [problem["line"] for problem in as_json.json["problems"]] == [2, 3]
    assert as_json.json["ok"] is False


def test_a_file_is_uploaded_checked_and_told_as_json(emulator: Emulator) -> None:
    said = run_command("upload", write_training(), "--poll-interval", "0.05")

    assert said.code == 0
    assert said.json["rows"] == 30
    assert said.json["reference"] == f"file:{said.json['file_id']}"


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (("upload", "gone.jsonl"), 1, "no file gone.jsonl"),
        (("upload", "train.jsonl", "--purpose", "training"), 2, "fine-tune"),
        (("validate", "gone.jsonl"), 1, "gone.jsonl cannot be read"),
        (("wait", "something"), 1, "kind:id"),
        (("wait", "train:1"), 1, "not a job kind"),
        (("wait", "batch:none"), 1, "batch:none does not exist"),
        (("end", "nothing"), 1, "kind:id"),
        (("emulator", "--speed", "0"), 1, "--speed"),
        (("emulator", "--data", "train.jsonl"), 1, "no folder"),
    ],
)
def test_a_slip_is_answered_with_what_to_write_instead(
    emulator: Emulator, command: tuple[str, ...], code: int, words: str
) -> None:
    write_training()

    said = run_command(*command)

    assert (said.code, said.out) == (code, "")
    assert words in said.err
    assert "Traceback" not in said.err


def test_a_bad_file_is_not_sent(emulator: Emulator) -> None:
    Path("bad.jsonl").write_text("nonsense\n")

    said = run_command("upload", "bad.jsonl")

    assert said.code == 1
    assert "line 1" in said.err
    assert emulator.counts()["requests"] == {}


def test_a_job_is_followed_to_its_result(emulator: Emulator) -> None:
    said = run_command("wait", f"fine_tune:{new_fine_tune(emulator)}", "--poll-interval", "0.05")

    assert said.code == 0
    assert said.json["base_model"] == MODEL
    assert said.json["price_usd"] > 0
    assert "job_complete" in said.err or "succeeded" in said.err


def test_a_job_that_failed_is_told_in_its_own_words(emulator: Emulator) -> None:
    emulator.settings(fail={"fine_tune": "The loss went to the moon."})

    said = run_command("wait", f"fine_tune:{new_fine_tune(emulator)}", "--poll-interval", "0.05")

    assert (said.code, said.out) == (1, "")
    assert "The loss went to the moon" in said.err


def test_an_interrupted_wait_leaves_the_job_alone_and_says_so(
    emulator: Emulator, start: Callable[..., CommandProcess]
) -> None:
    reference = f"fine_tune:{new_fine_tune(emulator, speed=SLOW)}"
    process = start("wait", reference)
    process.wait_for(lambda log: reference in log)

    process.interrupt()
    said = process.ended()

    assert (said.code, said.out) == (130, "")
    assert f"{reference} was left alone" in said.err
    assert emulator.counts()["cancelled"]["fine_tune"] == 0
    emulator.settings(speed=FAST)


def test_a_wait_that_takes_too_long_ends_the_job(emulator: Emulator) -> None:
    reference = f"fine_tune:{new_fine_tune(emulator, speed=20)}"

    said = run_command("wait", reference, "--timeout", "0.3", "--poll-interval", "0.05")

    assert said.code == 1
    assert "WaitTimeout" in said.err
    assert emulator.counts()["cancelled"]["fine_tune"] == 1


def test_what_bills_is_ended_and_ending_it_twice_is_harmless(emulator: Emulator) -> None:
    hardware = "1x_nvidia_h100_80gb_sxm"
    with Together() as client:
        wanted = endpoints.create(
            model="Qwen/Qwen3-8B", hardware=hardware, autoscaling={"min_replicas": 1, "max_replicas": 1}
        )
        reference = f"endpoint:{client.send(wanted).id}"
    assert run_command("wait", reference, "--poll-interval", "0.05").json["state"] == "STARTED"

    first, second = run_command("end", reference, "--json"), run_command("end", reference)

    assert (first.code, second.code) == (0, 0)
    assert first.json["state"] == "cancelled"
    assert "cancelled" in second.out
    assert emulator.billing() == {}
