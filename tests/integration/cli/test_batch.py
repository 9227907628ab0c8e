"""`together-flows batch`: a file in, a file out, and nothing is paid for twice whatever happens in between."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from together_flows.emulator import Emulator

from .conftest import FAST, SLOW, CommandProcess, run_command

MODEL = "Qwen/Qwen3-8B"
OPTIONS = ("--model", MODEL, "--max-tokens", "8", "--poll-interval", "0.05")

Start = Callable[..., CommandProcess]


def write_prompts(count: int, *, text: str = "What is {}?", name: str = "prompts.jsonl") -> str:
    rows = [{"prompt": text.format(number), "number": number} for number in range(count)]
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def answers(path: str = "answers.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def created(emulator: Emulator) -> int:
    return int(emulator.counts()["created"]["batch"])


def cancelled(emulator: Emulator) -> int:
    return int(emulator.counts()["cancelled"]["batch"])


def only_batch(emulator: Emulator) -> dict[str, Any]:
    [job] = emulator.jobs("batch")
    return job


def test_each_prompt_has_its_answer_in_its_place(emulator: Emulator) -> None:
    said = run_command("batch", write_prompts(25), "answers.jsonl", *OPTIONS, "--max-rows", "10")

    assert said.code == 0
    assert said.json["succeeded"] == said.json["rows"] == 25
    assert len(said.json["batches"]) == created(emulator) == 3
    assert [row["index"] for row in answers()] == [row["columns"]["number"] for row in answers()] == list(range(25))
    assert all(row["response"]["choices"] for row in answers())
    assert "25 of 25 rows have an answer" in said.err


def test_the_same_command_again_pays_for_nothing(emulator: Emulator) -> None:
    command = ("batch", write_prompts(5), "answers.jsonl", *OPTIONS)
    first = run_command(*command)
    before = answers()
    Path("answers.jsonl").unlink()

    second = run_command(*command)

    assert created(emulator) == 1
    assert second.json == first.json
    assert answers() == before


def test_a_new_answer_to_the_same_prompts_has_to_be_asked_for(emulator: Emulator) -> None:
    command = ("batch", write_prompts(5), "answers.jsonl", *OPTIONS)
    first = run_command(*command)

    again = run_command(*command, "--again")

    assert created(emulator) == 2
    assert again.json["batches"] != first.json["batches"]


@pytest.mark.parametrize(
    "point", ["after:save:preparing", "before:save:intent", "after:send:batches.create", "after:save:submitted"]
)
def test_a_process_that_is_killed_leaves_one_batch_to_the_next(emulator: Emulator, start: Start, point: str) -> None:
    command = ("batch", write_prompts(5), "answers.jsonl", *OPTIONS)
    killed = start(*command, env={"TOGETHER_FLOWS_CRASH_AT": point}).ended()

    said = run_command(*command)

    assert killed.code == -9
    assert said.json["succeeded"] == 5
    assert created(emulator) == 1


def test_an_interruption_leaves_the_batches_alone_and_says_how_to_go_on(emulator: Emulator, start: Start) -> None:
    emulator.settings(speed=SLOW)
    command = ("batch", write_prompts(5), "answers.jsonl", *OPTIONS)
    process = start(*command)
    process.wait_for(lambda log: "queued" in log or "running" in log)

    second = run_command(*command)
    process.interrupt()
    said = process.ended()

    assert second.code == 1
    assert "Another run of this command" in second.err
    assert said.code == 130
    assert said.out == ""
    assert "The same command waits for them again" in said.err
    assert only_batch(emulator)["id"] in said.err.splitlines()[-1]
    assert (created(emulator), cancelled(emulator)) == (1, 0)
    emulator.settings(speed=FAST)
    assert run_command(*command).json["succeeded"] == 5
    assert created(emulator) == 1


def test_other_prompts_for_the_same_output_end_the_old_batches(emulator: Emulator, start: Start) -> None:
    emulator.settings(speed=SLOW)
    process = start("batch", write_prompts(9), "answers.jsonl", *OPTIONS, "--max-rows", "3")
    process.wait_for(lambda log: log.count("is submitted") == 3 and "queued" in log)
    process.interrupt()
    process.ended()

    process = start(
        "batch", write_prompts(6, text="Who is {}?"), "answers.jsonl", *OPTIONS, "--max-rows", "3", "--row-retries", "0"
    )
    process.wait_for(lambda _: cancelled(emulator) == 3)
    emulator.settings(speed=FAST)
    said = process.ended()

    assert said.json["succeeded"] == 6
    assert (created(emulator), cancelled(emulator)) == (5, 3)


def test_other_prompts_end_what_was_being_sent_again(emulator: Emulator, start: Start) -> None:
    emulator.settings(speed=5)
    body = {"messages": [{"role": "user", "content": "Two?"}], "model": "no/such-model"}
    Path("prompts.jsonl").write_text('{"prompt": "One?"}\n' + json.dumps(body) + "\n")
    process = start("batch", "prompts.jsonl", "answers.jsonl", *OPTIONS)
    process.wait_for(lambda log: log.count("is submitted") == 2)
    emulator.settings(speed=SLOW)
    process.interrupt()
    process.ended()

    process = start("batch", write_prompts(2), "answers.jsonl", *OPTIONS)
    process.wait_for(lambda _: cancelled(emulator) == 1)
    emulator.settings(speed=FAST)
    said = process.ended()

    assert said.json["succeeded"] == 2
    assert (created(emulator), cancelled(emulator)) == (3, 1)


def test_more_than_the_budget_is_not_submitted(emulator: Emulator) -> None:
    said = run_command("batch", write_prompts(50), "answers.jsonl", *OPTIONS, "--budget", "0.0000001")

    assert said.code == 1
    assert "BudgetExceeded" in said.err
    assert created(emulator) == 0
    assert not Path("answers.jsonl").exists()


def test_the_budget_counts_what_an_earlier_run_has_submitted(emulator: Emulator) -> None:
    prompts = write_prompts(20)
    emulator.fault(method="POST", path="/batches", skip=1, status=400)
    command = ("batch", prompts, "answers.jsonl", *OPTIONS, "--max-rows", "10")
    first = run_command(*command)
    [record] = [
        json.loads(row)
        for (row,) in sqlite3.connect(".together-flows/state.sqlite").execute(
            "SELECT record FROM job_records WHERE key LIKE '%:0:0'"
        )
    ]

    second = run_command(*command, "--budget", str(record["estimated_usd"] * 1.5))
    third = run_command(*command, "--budget", str(record["estimated_usd"] * 2.5))

    assert (first.code, second.code, third.code) == (1, 1, 0)
    assert "BudgetExceeded" in second.err
    assert third.json["succeeded"] == 20
    assert created(emulator) == 2


def test_rows_that_fail_are_sent_again_on_their_own_and_appear_with_their_error(emulator: Emulator) -> None:
    two = {"messages": [{"role": "user", "content": "Two?"}], "model": "no/such-model"}
    rows = [{"prompt": "One?"}, two, {"prompt": "Three?"}]
    Path("prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    said = run_command("batch", "prompts.jsonl", "answers.jsonl", *OPTIONS)
    strict = run_command("batch", "prompts.jsonl", "answers.jsonl", *OPTIONS, "--max-failed-rows", "0")

    assert said.code == 0
    assert (said.json["succeeded"], said.json["failed"]) == (2, 1)
    assert [row["status"] for row in answers()] == ["succeeded", "failed", "succeeded"]
    assert "no/such-model" in answers()[1]["error"]["message"]
    assert strict.code == 1
    assert strict.json == said.json
    assert "1 of 3 rows have no answer, and at most 0 may have none" in strict.err
    assert created(emulator) == 2  # all rows, and then the one; the second command has paid for nothing


def half_done(emulator: Emulator, start: Start, command: tuple[str, ...]) -> dict[str, Any]:
    """A batch that is interrupted when some of its rows are answered."""
    emulator.settings(speed=5)
    process = start(*command)
    process.wait_for(lambda log: any(f" {share}%" in log for share in range(10, 40)))
    emulator.settings(speed=SLOW)
    process.interrupt()
    process.ended()
    return only_batch(emulator)


@pytest.mark.parametrize("status", ["EXPIRED", "CANCELLED"])
def test_only_the_rows_without_an_answer_of_a_batch_that_ended_early_are_paid_again(
    emulator: Emulator, start: Start, status: str
) -> None:
    command = ("batch", write_prompts(40), "answers.jsonl", *OPTIONS)
    job = half_done(emulator, start, command)
    emulator.force("batch", job["id"], status)
    emulator.settings(speed=FAST)

    said = run_command(*command)

    assert said.json["succeeded"] == 40
    assert created(emulator) == 2
    assert f"has ended as {status}; its results are used" in said.err
    sent_again = next(line for line in said.err.splitlines() if "are sent again" in line)
    assert 0 < int(sent_again.split()[1]) < 40


def test_a_batch_that_fails_says_why_and_a_new_run_uses_what_it_has_left(emulator: Emulator) -> None:
    command = ("batch", write_prompts(5), "answers.jsonl", *OPTIONS)
    emulator.settings(fail={"batch": "The model is resting."})
    failed = run_command(*command)
    emulator.settings(fail={})

    said = run_command(*command)

    assert failed.code == 1
    assert failed.out == ""
    assert "The model is resting" in failed.err
    assert said.json["succeeded"] == 5
    assert "its results are used" in said.err  # it had failed late: all rows had an answer
    assert created(emulator) == 1


def test_a_creation_that_is_refused_says_why_and_a_new_run_submits_again(emulator: Emulator) -> None:
    command = ("batch", write_prompts(5), "answers.jsonl", *OPTIONS)
    emulator.fault(method="POST", path="/batches", status=402)

    refused, said = run_command(*command), run_command(*command)

    assert (refused.code, refused.out) == (1, "")
    assert "PaymentRequired" in refused.err
    assert said.json["succeeded"] == 5
    assert created(emulator) == 1


def test_a_batch_that_takes_too_long_is_cancelled(emulator: Emulator) -> None:
    emulator.settings(speed=1)

    said = run_command("batch", write_prompts(40), "answers.jsonl", *OPTIONS, "--timeout", "0.5")

    assert said.code == 1
    assert "WaitTimeout" in said.err
    assert cancelled(emulator) == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.jsonl", "", "empty.jsonl"),
        ("broken.jsonl", '{"prompt": "One?"}\n{"prompt": \n', "line 2"),
        ("wrong.txt", "One?\n", "Use a .jsonl or a .csv file"),
    ],
)
def test_prompts_that_break_the_rules_are_named_and_nothing_is_sent(
    emulator: Emulator, name: str, content: str, words: str
) -> None:
    Path(name).write_text(content)

    said = run_command("batch", name, "answers.jsonl", *OPTIONS)

    assert said.code == 1
    assert words in said.err
    assert created(emulator) == 0


def test_prompts_and_answers_may_lie_in_storage(emulator: Emulator) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/in/prompts.jsonl", b'{"prompt": "One?"}\n{"prompt": "Two?"}\n')

    said = run_command("batch", "memory://in/prompts.jsonl", "memory://out/answers.jsonl", *OPTIONS)

    assert said.json["succeeded"] == 2
    assert len(memory.cat("/out/answers.jsonl").splitlines()) == 2
    assert Path(".together-flows/state.sqlite").exists()


def test_records_are_kept_where_the_caller_says(emulator: Emulator) -> None:
    said = run_command("batch", write_prompts(2), "out/answers.jsonl", *OPTIONS, "--state", "kept/here.sqlite")

    assert said.code == 0
    assert Path("kept/here.sqlite").exists()
    assert not Path("out/.together-flows").exists()
    assert [path.name for path in Path("kept").iterdir() if path.is_dir()] == []
