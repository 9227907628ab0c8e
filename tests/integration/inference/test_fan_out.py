"""Rows sent to the emulator: in order, each accounted for, none paid twice."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.integration.inference.conftest import CHAT, Send, asked, lines
from together_flows import AsyncTogether
from together_flows.client import Retries
from together_flows.emulator import Emulator
from together_flows.errors import (
    ArgumentInvalid,
    AuthenticationFailed,
    BudgetExceeded,
    DatasetInvalid,
    JobFailed,
)
from together_flows.inference import AttemptPolicy, FanOut
from together_flows.inference.places import place_of
from together_flows.inference.progress import Progress

QUICK = AttemptPolicy(retries=Retries(attempts=4, first=0.01, longest=0.05))


def prompts(number: int) -> list[str]:
    return [f"Where is parcel {index}?" for index in range(number)]


async def test_each_row_has_a_line_in_the_order_of_the_input(send: Send, output: Path, emulator: Emulator) -> None:
    made = await send([{"custom_id": f"id {n}", "prompt": f"Say {n}.", "shelf": n} for n in range(300)])

    found = lines(output)
    assert [line["custom_id"] for line in found] == [f"id {n}" for n in range(300)]
    assert [line["index"] for line in found] == list(range(300))
    assert [line["columns"] for line in found] == [{"shelf": n} for n in range(300)]
    assert {line["status"] for line in found} == {"succeeded"}
    assert all(line["response"]["choices"][0]["message"]["content"] for line in found)
    assert (made["rows"], made["succeeded"], made["failed"], made["retries"]) == (300, 300, 0, 0)
    used = [line["response"]["usage"] for line in found]
    assert made["prompt_tokens"] == sum(usage["prompt_tokens"] for usage in used)
    assert made["completion_tokens"] == sum(usage["completion_tokens"] for usage in used)
    assert made["cost_usd"] > 0
    assert len(json.dumps(made)) < 1_000
    assert asked(emulator) == 300
    assert sorted(path.name for path in output.parent.iterdir()) == ["answers.jsonl"]


@pytest.mark.parametrize(
    ("operation", "model", "rows", "defaults", "found"),
    [
        (
            "completions.create",
            "mistralai/Mixtral-8x7B-v0.1",
            ["Once", {"prompt": "Twice", "n": 2}],
            {"max_tokens": 4},
            "choices",
        ),
        ("embeddings.create", "BAAI/bge-base-en-v1.5", ["Once", {"input": ["a", "b"]}], {}, "data"),
        (
            "rerank.create",
            "Salesforce/Llama-Rank-V1",
            ["bee", {"query": "ant", "top_n": 2}],
            {"documents": ["a bee", "an ant"], "top_n": 1},
            "results",
        ),
    ],
)
async def test_every_operation_on_text_answers_rows(
    operation: str, model: str, rows: list[Any], defaults: dict[str, Any], found: str, send: Send, output: Path
) -> None:
    made = await send(rows, operation=operation, model=model, defaults=defaults)
    assert made["succeeded"] == 2
    assert made["cost_usd"] > 0 or operation == "rerank.create"
    assert [len(line["response"][found]) for line in lines(output)] == [1, 2]


async def test_pictures_go_into_files_and_never_into_the_output(send: Send, output: Path) -> None:
    size = {"width": 64, "height": 64}
    rows = ["a cat", {"custom_id": "../../etc/passwd", "prompt": "a dog", "n": 2, "output_format": "png"}]
    made = await send(rows, operation="images.generate", model="black-forest-labs/FLUX.1-schnell", defaults=size)
    first, second = lines(output)
    assert [Path(path).name for path in first["paths"]] == ["000000000.jpg"]
    assert [Path(path).name for path in second["paths"]] == ["000000001-etc-passwd-0.png", "000000001-etc-passwd-1.png"]
    assert {str(Path(path).parent) for path in first["paths"] + second["paths"]} == {made["files_path"]}
    assert Path(second["paths"][1]).read_bytes().startswith(b"\x89PNG")
    assert 'b64_json":' not in output.read_text()
    assert output.stat().st_size < 2_000


async def test_speech_is_written_and_listened_to_again(send: Send, output: Path, tmp_path: Path) -> None:
    spoken = await send(
        ["parcel one", "parcel two"],
        operation="audio.create_speech",
        model="hexgrad/Kokoro-82M",
        defaults={"voice": "tara"},
    )
    assert spoken["succeeded"] == 2
    [first], [second] = (line["paths"] for line in lines(output))
    heard = tmp_path / "heard.jsonl"
    for operation in ("audio.create_transcription", "audio.create_translation"):
        rows = [first, {"file": f"file://{second}"}, "nowhere.wav"]
        made = await send(
            rows, str(heard), operation=operation, model="openai/whisper-large-v3", defaults={"response_format": "json"}
        )
        assert made["failed"] == 1
        one, two, missing = lines(heard)
        assert one["response"]["text"]
        assert one["response"]["text"] != two["response"]["text"]
        assert "nowhere.wav" in missing["error"]["message"]


async def test_videos_are_jobs_that_are_submitted_once_and_waited_for(
    send: Send, output: Path, emulator: Emulator
) -> None:
    wishes = {"operation": "videos.create", "model": "minimax/video-01-director", "defaults": {}, "poll_interval": 0.1}
    made = await send(["a cat", "a dog", "a cow"], **wishes)
    assert made["succeeded"] == 3
    assert made["cost_usd"] > 0
    assert len({line["response"]["id"] for line in lines(output)}) == 3
    assert emulator.counts()["created"]["video"] == 3


async def test_a_video_that_was_submitted_before_a_crash_is_adopted(
    send: Send, output: Path, emulator: Emulator
) -> None:
    emulator.settings(speed=0.001)
    wishes = {"operation": "videos.create", "model": "minimax/video-01-director", "defaults": {}, "poll_interval": 0.1}
    first = asyncio.create_task(send(["a cat", "a dog"], **wishes))
    part = output.parent / ".answers.jsonl.part"
    while not part.exists() or part.read_text().count('"submitted"') < 2:
        assert not first.done()
        await asyncio.sleep(0.01)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    emulator.settings(speed=3600)
    made = await send(["a cat", "a dog"], **wishes)
    assert made["succeeded"] == 2
    assert emulator.counts()["created"]["video"] == 2


async def test_a_row_that_fails_has_its_error_and_the_others_their_answers(send: Send, output: Path) -> None:
    rows = [{"prompt": "Hello?"}, {"nothing": 1}, {"model": "no/such", "messages": [{"role": "user", "content": "?"}]}]
    made = await send(rows)
    assert (made["succeeded"], made["failed"]) == (1, 2)
    good, empty, lost = lines(output)
    assert good["status"] == "succeeded"
    assert empty["error"]["message"]
    assert empty["status_code"] is None
    assert lost["status_code"] == 404


async def test_what_passes_by_itself_is_sent_again(send: Send, emulator: Emulator) -> None:
    emulator.fault(path="/chat/completions", status=500, times=5)
    emulator.fault(path="/chat/completions", drop="after", times=3, skip=5)
    made = await send(prompts(40), policy=QUICK)
    assert made["succeeded"] == 40
    assert made["retries"] == 8
    assert asked(emulator) == 48


async def test_a_stated_rate_limit_is_kept_nearly_without_refusals(send: Send, emulator: Emulator) -> None:
    emulator.settings(rate_limit=300)
    began = time.monotonic()
    made = await send(prompts(315))
    assert made["succeeded"] == 315
    assert made["rate_limited"] <= 2
    assert time.monotonic() - began >= 2


async def test_a_refusal_holds_all_rows_for_as_long_as_was_asked(send: Send, emulator: Emulator) -> None:
    emulator.fault(path="/chat/completions", status=429, headers={"Retry-After": "1"}, times=3)
    began = time.monotonic()
    made = await send(prompts(30))
    assert made["succeeded"] == 30
    assert made["rate_limited"] == made["retries"] == 3
    assert time.monotonic() - began >= 1


async def test_no_more_are_in_flight_than_wished(emulator: Emulator, output: Path) -> None:
    flying, most = 0, 0

    class Watching(AsyncTogether):
        async def send_once(self, operation: Any) -> Any:
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            try:
                return await super().send_once(operation)
            finally:
                flying -= 1

    async with Watching(api_key=emulator.api_key, base_url=emulator.url) as client:
        await FanOut(operation="chat.create", model=CHAT, concurrency=5).run(client, prompts(60), str(output))
    assert most == 5


async def test_a_retry_sends_only_what_has_no_answer_yet(send: Send, output: Path, emulator: Emulator) -> None:
    emulator.fault(path="/chat/completions", status=401, skip=30)
    with pytest.raises(AuthenticationFailed):
        await send(prompts(100))
    assert not output.exists()
    before = asked(emulator)
    made = await send(prompts(100))
    assert made["succeeded"] == 100
    assert made["resumed"] >= 30
    assert asked(emulator) - before == 100 - made["resumed"]
    assert [line["index"] for line in lines(output)] == list(range(100))


async def test_what_was_in_flight_when_everything_stopped_is_kept(send: Send, emulator: Emulator) -> None:
    emulator.fault(path="/chat/completions", delay=0.3, times=7)
    emulator.fault(path="/chat/completions", status=401, skip=7)
    with pytest.raises(AuthenticationFailed):
        await send(prompts(100), concurrency=8)
    made = await send(prompts(100))
    assert made["resumed"] >= 7


async def test_rows_that_have_changed_are_sent_again(send: Send, output: Path, emulator: Emulator) -> None:
    emulator.fault(path="/chat/completions", status=401, skip=20)
    with pytest.raises(AuthenticationFailed):
        await send(prompts(40), concurrency=1)
    changed = ["Something else?", *prompts(40)[1:]]
    made = await send(changed, concurrency=1)
    assert made["resumed"] == 19
    made = await send(changed, defaults={"max_tokens": 3})
    assert made["resumed"] == 0


async def test_too_many_failures_fail_the_run_and_another_attempt_sends_these_alone(
    send: Send, output: Path, emulator: Emulator
) -> None:
    emulator.fault(path="/chat/completions", status=500, times=8)
    once = AttemptPolicy(retries=Retries(attempts=1))
    with pytest.raises(JobFailed, match="8 of 50 rows have failed; at most 5 may") as failed:
        await send(prompts(50), policy=once, max_failed_share=0.1)
    assert failed.value.retryable
    assert sum(line["status"] == "failed" for line in lines(output)) == 8
    made = await send(prompts(50), policy=once, max_failed_share=0.1)
    assert (made["resumed"], made["succeeded"]) == (42, 50)
    assert asked(emulator) == 58


async def test_rows_that_all_fail_fail_the_run(send: Send) -> None:
    with pytest.raises(JobFailed, match="no/such") as failed:
        await send(prompts(3), model="no/such")
    assert not failed.value.retryable


async def test_an_output_that_is_complete_is_not_made_again_for_the_same_intention(
    send: Send, output: Path, emulator: Emulator
) -> None:
    made = await send(prompts(10), key="run 1")
    assert await send(prompts(10), key="run 1") == made
    assert asked(emulator) == 10
    await send(prompts(10), key="run 2")
    assert asked(emulator) == 20
    await send(prompts(11), key="run 2")
    assert asked(emulator) == 31
    output.unlink()
    await send(prompts(11), key="run 2")
    assert asked(emulator) == 42


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
async def test_files_anywhere_are_read_and_written(suffix: str, send: Send, emulator: Emulator) -> None:
    folder = f"memory://{uuid.uuid4().hex}"
    rows, target = place_of(f"{folder}/rows{suffix}"), place_of(f"{folder}/deep/answers.jsonl")
    with rows.replacing() as stream:
        content = ['{"prompt": "one"}', '{"prompt": "two"}'] if suffix == ".jsonl" else ["prompt", "one", "two"]
        stream.write("\n".join(content).encode() + b"\n")
    emulator.fault(path="/chat/completions", status=401, skip=1)
    with pytest.raises(AuthenticationFailed):
        await send(str(rows), str(target), concurrency=1)
    made = await send(str(rows), str(target), concurrency=1)
    assert (made["succeeded"], made["resumed"]) == (2, 1)
    assert made["output_path"] == str(target)
    with target.open() as stream:
        assert [json.loads(line)["index"] for line in stream.read().splitlines()] == [0, 1]
    assert [place.name for place in place_of(f"{folder}/deep").children()] == ["answers.jsonl"]


async def test_progress_is_told_now_and_then_and_at_the_end(emulator: Emulator, output: Path) -> None:
    emulator.fault(path="/chat/completions", delay=0.1, times=None)
    seen: list[Progress] = []
    said: list[str] = []

    async def on_progress(progress: Progress) -> None:
        seen.append(progress)

    async with AsyncTogether(api_key=emulator.api_key, base_url=emulator.url) as client:
        fan_out = FanOut(operation="chat.create", model=CHAT, concurrency=4, progress_interval=0.1)
        await fan_out.run(
            client, prompts(20), str(output), log=lambda line, level: said.append(line), on_progress=on_progress
        )

    assert (seen[0].settled, seen[-1].settled, seen[-1].total, seen[-1].share) == (0, 20, 20, 1.0)
    assert [progress.settled for progress in seen] == sorted(progress.settled for progress in seen)
    assert max(progress.in_flight for progress in seen) == 4
    assert seen[-1].cost_usd > 0
    assert any("of 20 (" in line and "in flight, of at most 4" in line for line in said)


async def test_all_rows_are_sent_again_for_a_new_intention_where_that_is_wanted(send: Send, emulator: Emulator) -> None:
    emulator.fault(path="/chat/completions", status=401, skip=20)
    with pytest.raises(AuthenticationFailed):
        await send(prompts(40), key="run 1", concurrency=1)
    before = asked(emulator)
    made = await send(prompts(40), key="run 2", fresh=True)
    assert made["resumed"] == 0
    assert asked(emulator) - before == 40


async def test_rows_above_the_budget_are_not_sent(send: Send, emulator: Emulator) -> None:
    with pytest.raises(BudgetExceeded) as refused:
        await send(prompts(200), defaults={"max_tokens": 1000}, budget=0.001)
    assert refused.value.estimate > 0.001
    assert asked(emulator) == 0


async def test_nothing_more_is_sent_once_the_budget_is_spent(send: Send, emulator: Emulator) -> None:
    whole = await send(prompts(200), defaults={})
    budget = whole["cost_usd"] / 4
    before = asked(emulator)
    with pytest.raises(BudgetExceeded, match="so far"):
        await send([f"{prompt}!" for prompt in prompts(200)], defaults={}, budget=budget)
    assert 10 < asked(emulator) - before < 120


async def test_a_budget_for_what_has_no_price_is_refused(send: Send) -> None:
    with pytest.raises(ArgumentInvalid, match="budget"):
        await send(
            ["a cat"], operation="images.generate", model="black-forest-labs/FLUX.1-schnell", defaults={}, budget=1.0
        )


async def test_more_rows_than_wished_are_not_sent(send: Send, emulator: Emulator) -> None:
    with pytest.raises(ArgumentInvalid, match="max_rows=9"):
        await send(prompts(10), max_rows=9)
    assert asked(emulator) == 0
    assert (await send(prompts(9), max_rows=9))["succeeded"] == 9


async def test_no_rows_are_no_success(send: Send, tmp_path: Path) -> None:
    with pytest.raises(ArgumentInvalid, match="no rows"):
        await send([])
    empty = tmp_path / "rows.jsonl"
    empty.write_text("")
    with pytest.raises(DatasetInvalid, match="empty"):
        await send(str(empty))
    assert list(tmp_path.iterdir()) == [empty]


async def test_no_key_gets_into_the_output_or_the_journal(send: Send, output: Path, emulator: Emulator) -> None:
    body = {"error": {"message": f"The key {emulator.api_key} may not do this."}}
    emulator.fault(path="/chat/completions", status=403, body=body, times=1)
    emulator.fault(path="/chat/completions", status=401, skip=3)
    with pytest.raises(AuthenticationFailed):
        await send(prompts(10), concurrency=1)
    journal = (output.parent / ".answers.jsonl.part").read_text()
    assert "may not do this" in journal
    assert emulator.api_key not in journal


async def test_an_error_that_concerns_no_row_is_raised(send: Send) -> None:
    with pytest.raises(ArgumentInvalid, match="cannot be read"):
        await send("nowhere.jsonl")
