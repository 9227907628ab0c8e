"""Reinforcement learning: losses fall, samples follow, checkpoints can be taken along."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from together_flows.emulator import Emulator

from .account import BASE_MODEL, Account

SESSIONS = "/rl/training-sessions"
CODE = "TRAINING_OPERATION_ERROR_CODE_"
TEXT = [ord(letter) for letter in "abcabcabc"]


def start(account: Account, **request: Any) -> str:
    return str(account.post(SESSIONS, {"base_model": BASE_MODEL} | request)["id"])


def submit(account: Account, session: str, type: str, body: Any, key: str = "") -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    answer = account.http.post(f"{SESSIONS}/{session}/operations/{type}", json=body, headers=headers)
    return answer.raise_for_status().json()


def through(account: Account, session: str, type: str, body: Any) -> dict[str, Any]:
    """Submits an operation and waits for its end."""
    operation = submit(account, session, type, body)
    path = f"{SESSIONS}/{session}/operations/{type}/{operation['id']}"
    return account.until(path, lambda row: row["status"].endswith(("COMPLETED", "FAILED")))


def output(account: Account, session: str, type: str, body: Any) -> dict[str, Any]:
    row = through(account, session, type, body)
    assert row["status"] == "TRAINING_OPERATION_STATUS_COMPLETED", row
    return dict(row["output"])


def sample(tokens: Sequence[int | str], **inputs: Any) -> dict[str, Any]:
    """What teaches the next token of each."""
    return {
        "model_input": {"chunks": [{"encoded_text": {"tokens": list(tokens[:-1])}}]},
        "loss_inputs": {"target_tokens": {"data": list(tokens[1:]), "dtype": "D_TYPE_INT64"}, **inputs},
    }


def entropy_batch(*samples: dict[str, Any]) -> dict[str, Any]:
    return {"samples": list(samples) or [sample(TEXT)], "loss": {"type": "LOSS_TYPE_CROSS_ENTROPY"}}


def learn(account: Account, session: str, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        losses.append(output(account, session, "forward-backward", entropy_batch())["loss"])
        output(account, session, "optim-step", {})
    return losses


def draw(account: Account, session: str, prompt: Sequence[int] = (97,), **params: Any) -> list[dict[str, Any]]:
    body = {"prompts": [{"chunks": [{"encoded_text": {"tokens": list(prompt)}}]}], "sampling_params": params}
    (rollout,) = output(account, session, "sample", body)["rollouts"]
    return list(rollout["sequences"])


def test_a_session_comes_up_runs_and_stops(account: Account) -> None:
    account.emulator.settings(speed=1)
    created = account.post(SESSIONS, {"base_model": BASE_MODEL, "lora_config": {"rank": "32"}})
    path = f"{SESSIONS}/{created['id']}"
    account.emulator.settings(speed=3600)
    running = account.until(path, lambda row: row["status"].endswith("RUNNING"))
    counts = account.emulator.counts()["running"]["rl_session"]
    account.emulator.settings(speed=1)
    stopping = account.post(f"{path}/stop")
    account.emulator.settings(speed=3600)
    stopped = account.until(path, lambda row: row["status"].endswith("STOPPED"))
    again = account.post(f"{path}/stop")

    assert created["status"] == "TRAINING_SESSION_STATUS_CREATING"
    assert created["lora_config"] == {"rank": 32, "alpha": 16, "dropout": 0.05}
    assert (running["step"], counts) == ("0", 1)
    assert stopping["status"] == "TRAINING_SESSION_STATUS_STOPPING"
    assert again["status"] == stopped["status"] == "TRAINING_SESSION_STATUS_STOPPED"
    counts = account.emulator.counts()
    assert (counts["running"]["rl_session"], counts["cancelled"]["rl_session"]) == (0, 1)


def test_the_loss_begins_at_ignorance_and_falls_with_every_step(account: Account) -> None:
    losses = learn(account, start(account), 12)

    assert losses[0] == pytest.approx(math.log(128_256))
    assert all(later < earlier for earlier, later in pairwise(losses))


def test_what_was_learned_is_sampled_with_its_log_probabilities(account: Account) -> None:
    session = start(account)
    before = draw(account, session, max_tokens=6, seed="1")[0]
    learn(account, session, 60)
    after = draw(account, session, max_tokens=6, seed="1")[0]
    loss = output(account, session, "forward-backward", entropy_batch(sample([97, *map(int, after["tokens"])])))["loss"]

    assert [chr(int(token)) for token in after["tokens"]] == list("bcabca")
    assert after["stop_reason"] == "length"
    assert sum(before["logprobs"]) == pytest.approx(-6 * math.log(128_256))
    assert sum(after["logprobs"]) > -1
    assert loss == pytest.approx(-sum(after["logprobs"]) / 6)


def test_a_gradient_without_a_step_changes_nothing_and_gathers_until_one_is_taken(account: Account) -> None:
    session = start(account)
    first = output(account, session, "forward-backward", entropy_batch())["loss"]
    second = output(account, session, "forward-backward", entropy_batch(sample([100, 101])))["loss"]
    output(account, session, "optim-step", {"learning_rate": 0.0001})
    third, fourth = (
        output(account, session, "forward-backward", entropy_batch(part))["loss"]
        for part in (sample(TEXT), sample([100, 101]))
    )

    assert first == pytest.approx(second)
    assert third < first
    assert fourth < second


def test_masked_tokens_do_not_count(account: Account) -> None:
    session = start(account)
    learn(account, session, 20)
    known, unknown = 98, 7
    masked = sample([97, known, unknown], loss_mask={"data": ["1", 0]})
    losses = [
        output(account, session, "forward-backward", entropy_batch(part))["loss"]
        for part in (sample([97, known]), masked, sample([97, known, unknown]))
    ]

    assert losses[0] == pytest.approx(losses[1])
    assert losses[2] > losses[0] + 1


def test_grpo_makes_what_was_praised_likelier_and_what_was_blamed_rarer(account: Account) -> None:
    session = start(account)
    body = {"prompts": [{"chunks": [{"encoded_text": {"tokens": [97]}}]}], "num_samples": "2"}

    def chances() -> list[float]:
        """Measured in a session of its own, for measuring adds to the gradient."""
        checkpoint = output(account, session, "training-checkpoint", {})["checkpoint_id"]
        other = start(account, resume_from_checkpoint_id=checkpoint)
        batches = [entropy_batch(sample([97, token])) for token in (98, 300)]
        return [-output(account, other, "forward-backward", batch)["loss"] for batch in batches]

    before = chances()
    rows = [
        sample(
            [97, token],
            grpo_inputs={
                "advantages": {"data": [advantage]},
                "generator_logprobs": {"data": [logprob]},
                "reference_logprobs": {"data": [logprob]},
            },
        )
        for token, advantage, logprob in ((98, 1.0, before[0]), (300, -1.0, before[1]))
    ]
    loss = {"type": "LOSS_TYPE_GRPO", "grpo_params": {"beta": 0.1}}
    first = output(account, session, "forward-backward", {"samples": rows, "loss": loss})
    output(account, session, "optim-step", {})
    after = chances()
    second = output(account, session, "forward-backward", {"samples": rows, "loss": loss})

    assert output(account, session, "sample", body)["rollouts"][0]["sequences"][1]["tokens"]
    assert first["loss"] == pytest.approx(0)
    assert first["metrics"]["loss/kl_ref/mean"] == pytest.approx(0)
    assert after[0] > before[0]
    assert after[1] < before[1]
    assert second["metrics"]["loss/kl_ref/mean"] > 0


def test_samples_obey_their_settings(account: Account) -> None:
    session = start(account)
    learn(account, session, 20)
    greedy = draw(account, session, temperature=0, max_tokens=4)[0]
    best = draw(account, session, top_k=1, max_tokens=4)[0]
    nucleus = draw(account, session, top_p=0.01, max_tokens=4)[0]
    stopped = draw(account, session, temperature=0, max_tokens=50, stop=["ca"])[0]
    twice = [draw(account, session, temperature=5, seed="7") for _ in range(2)]

    assert greedy["tokens"] == best["tokens"] == nucleus["tokens"] == [str(ord(letter)) for letter in "bcab"]
    assert (len(stopped["tokens"]), stopped["stop_reason"]) == (3, "stop")
    assert twice[0] == twice[1]
    assert len(twice[0][0]["tokens"]) == len(twice[0][0]["logprobs"]) == 100


def test_the_same_key_gives_the_same_operation_even_to_two_at_once(account: Account) -> None:
    session = start(account)
    output(account, session, "forward-backward", entropy_batch())
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda _: submit(account, session, "optim-step", {}, "key-1"), range(4)))
    other = submit(account, session, "optim-step", {}, "key-2")
    mixed = account.http.post(
        f"{SESSIONS}/{session}/operations/sample",
        json={"prompts": [{"chunks": [{"encoded_text": {"tokens": [1]}}]}]},
        headers={"Idempotency-Key": "key-1"},
    )
    account.until(f"{SESSIONS}/{session}", lambda row: row["step"] == "2")

    assert len({row["id"] for row in rows}) == 1
    assert other["id"] != rows[0]["id"]
    assert mixed.status_code == 400
    assert account.emulator.counts()["created"]["rl_operation"] == 3


def test_operations_go_one_after_another(account: Account) -> None:
    account.emulator.settings(speed=1)
    session = start(account)
    ids = [submit(account, session, "optim-step", {})["id"] for _ in range(3)]
    jobs = {job["id"]: job for job in account.emulator.jobs()}
    times = [[stage["at"] for stage in jobs[one]["stages"]] for one in ids]
    row = account.get(f"{SESSIONS}/{session}/operations/optim-step/{ids[0]}")

    assert row == {"id": ids[0], "status": "TRAINING_OPERATION_STATUS_PENDING"}
    assert times[0][1] == jobs[session]["stages"][1]["at"]
    assert times[0][2] == times[1][1]
    assert times[1][2] == times[2][1]


@pytest.mark.parametrize(
    ("type", "body", "code"),
    [
        ("forward-backward", entropy_batch(sample([1, 128_256])), "INVALID_INPUT"),
        ("forward-backward", entropy_batch(sample([1, 2], loss_mask={"data": []})), "INVALID_INPUT"),
        ("forward-backward", {"samples": [sample(TEXT)], "loss": {"type": "LOSS_TYPE_GRPO"}}, "INVALID_INPUT"),
        ("forward-backward", entropy_batch(sample([1] * 200_002)), "RESOURCE_EXHAUSTED"),
        ("sample", {"prompts": [{"chunks": []}]}, "INVALID_INPUT"),
        ("sample", {"prompts": [{"chunks": []}], "sampling_params": {"max_tokens": 200_001}}, "RESOURCE_EXHAUSTED"),
    ],
    ids=["no-such-token", "short-mask", "no-advantages", "too-much", "empty-prompt", "too-many-samples"],
)
def test_an_operation_on_bad_input_fails_by_itself_and_harms_nothing(
    account: Account, type: str, body: Any, code: str
) -> None:
    session = start(account)
    failed = through(account, session, type, body)

    assert failed["status"] == "TRAINING_OPERATION_STATUS_FAILED"
    assert failed["error"]["code"] == CODE + code
    assert failed["error"]["message"]
    assert "output" not in failed
    assert learn(account, session, 1)[0] == pytest.approx(math.log(128_256))


def test_stopping_fails_what_waits_and_refuses_what_comes(account: Account) -> None:
    account.emulator.settings(speed=1)
    session = start(account)
    waiting = submit(account, session, "optim-step", {})["id"]
    account.post(f"{SESSIONS}/{session}/stop")
    failed = account.get(f"{SESSIONS}/{session}/operations/optim-step/{waiting}")
    refused = account.http.post(f"{SESSIONS}/{session}/operations/optim-step", json={})

    assert failed["error"]["code"] == f"{CODE}SESSION_NOT_ACTIVE"
    assert (refused.status_code, refused.json()["code"]) == (400, 9)


def test_sessions_and_operations_can_be_forced_to_fail(account: Account) -> None:
    account.emulator.settings(fail={"rl_operation": "The cable came out."})
    session = start(account)
    failed = through(account, session, "optim-step", {})
    account.emulator.force("rl_session", session, "TRAINING_SESSION_STATUS_ERROR")

    assert failed["error"] == {"code": f"{CODE}INTERNAL_ERROR", "message": "The cable came out."}
    assert account.get(f"{SESSIONS}/{session}")["status"] == "TRAINING_SESSION_STATUS_ERROR"


def test_an_idle_session_expires(account: Account) -> None:
    session = start(account)
    account.emulator.settings(speed=500_000)
    account.until(f"{SESSIONS}/{session}", lambda row: row["status"].endswith("EXPIRED"))

    assert account.emulator.counts()["running"]["rl_session"] == 0


def test_training_goes_on_from_a_checkpoint(account: Account) -> None:
    first = start(account)
    losses = learn(account, first, 5)
    checkpoint = output(account, first, "training-checkpoint", {})["checkpoint_id"]
    learn(account, first, 3)
    second = start(account, resume_from_checkpoint_id=checkpoint)
    resumed = learn(account, second, 1)[0]
    row = account.get(f"{SESSIONS}/{second}")
    origin = account.get(f"{SESSIONS}/{first}")

    assert resumed < losses[-1]
    assert (row["resume_from_checkpoint_id"], row["step"], origin["step"]) == (checkpoint, "6", "8")
    assert [(saved["id"], saved["step"]) for saved in origin["training_checkpoints"]] == [(checkpoint, "5")]
    assert (
        account.http.post(SESSIONS, json={"base_model": BASE_MODEL, "resume_from_checkpoint_id": "x"}).status_code
        == 404
    )


def tensors(content: bytes) -> dict[str, Any]:
    (length,) = struct.unpack_from("<Q", content)
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    end = max(tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__")
    assert len(content) == 8 + length + end
    return header


@pytest.mark.parametrize(
    ("variant", "names"),
    [
        ("MERGED", ["config.json", "model.safetensors"]),
        ("ADAPTER", ["adapter_config.json", "adapter_model.safetensors"]),
    ],
)
def test_an_inference_checkpoint_can_be_downloaded(account: Account, variant: str, names: list[str]) -> None:
    session = start(account)
    learn(account, session, 2)
    name = output(account, session, "inference-checkpoint", {})["model_name"]
    (checkpoint,) = account.get(f"{SESSIONS}/{session}")["inference_checkpoints"]
    path = f"/rl/checkpoints/{checkpoint['id']}/download"
    files = account.get(path, variant=f"CHECKPOINT_VARIANT_{variant}")["data"]
    contents = [account.bare.get(file["url"]).raise_for_status().content for file in files]

    assert checkpoint["registration"]["model_name"] == name
    assert "-rl-step-2-" in name
    assert [file["filename"] for file in files] == names
    assert [file["size"] for file in files] == [str(len(content)) for content in contents]
    assert tensors(contents[1])["logits"]["shape"][0] > 3
    assert account.http.get(path).status_code == 400


def test_a_training_checkpoint_cannot_be_downloaded(account: Account) -> None:
    session = start(account)
    checkpoint = output(account, session, "training-checkpoint", {})["checkpoint_id"]
    answers = [
        account.http.get(f"/rl/checkpoints/{identity}/download", params={"variant": "CHECKPOINT_VARIANT_MERGED"})
        for identity in (checkpoint, "none")
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(400, 3), (404, 5)]


def test_sessions_come_in_pages_newest_first_and_by_status(account: Account) -> None:
    ids = [start(account) for _ in range(5)]
    account.until(f"{SESSIONS}/{ids[-1]}", lambda row: row["status"].endswith("RUNNING"))
    account.post(f"{SESSIONS}/{ids[0]}/stop")
    first = account.get(SESSIONS, limit=2)
    second = account.get(SESSIONS, limit=3, after=first["meta"]["next_cursor"])
    running = account.get(SESSIONS, status="TRAINING_SESSION_STATUS_RUNNING")

    assert [row["id"] for row in first["data"] + second["data"]] == ids[::-1]
    assert first["meta"] == {"limit": 2, "has_more": True, "next_cursor": ids[3]}
    assert second["meta"] == {"limit": 3, "has_more": False, "next_cursor": ""}
    assert [row["id"] for row in running["data"]] == ids[:0:-1]
    assert [
        account.http.get(SESSIONS, params=query).status_code
        for query in ({"limit": 0}, {"status": "BUSY"}, {"after": "x"})
    ] == [400] * 3


def test_errors_are_in_the_gateways_manner(account: Account) -> None:
    session = start(account)
    answers = {
        "no model": account.http.post(SESSIONS, json={"base_model": "no/such"}),
        "no session": account.http.get(f"{SESSIONS}/none"),
        "no operation": account.http.get(f"{SESSIONS}/{session}/operations/sample/none"),
        "no samples": account.http.post(f"{SESSIONS}/{session}/operations/forward-backward", json={}),
        "no number": account.http.post(
            f"{SESSIONS}/{session}/operations/forward-backward", json=entropy_batch(sample([1, "two"]))
        ),
        "no key": account.bare.get(f"{account.emulator.url}{SESSIONS}"),
    }

    assert {what: (answer.status_code, answer.json()["code"]) for what, answer in answers.items()} == {
        "no model": (404, 5),
        "no session": (404, 5),
        "no operation": (404, 5),
        "no samples": (400, 3),
        "no number": (400, 3),
        "no key": (401, 16),
    }


def test_whole_numbers_may_come_as_text(account: Account) -> None:
    session = start(account)
    numbers, texts = (
        output(account, session, "forward-backward", entropy_batch(sample(tokens)))["loss"]
        for tokens in ([1, 2, 3], ["1", "2", "3"])
    )

    assert numbers == texts


def test_what_was_learned_outlives_a_restart(tmp_path: Path) -> None:
    with Emulator(speed=3600, data=tmp_path) as emulator:
        account = Account(emulator)
        session = start(account)
        losses = learn(account, session, 5)
        account.close()
    with Emulator(speed=3600, data=tmp_path) as emulator:
        account = Account(emulator)
        after = learn(account, session, 1)[0]
        step = account.get(f"{SESSIONS}/{session}")["step"]
        account.close()

    assert after < losses[-1]
    assert step == "6"
