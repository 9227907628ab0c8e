"""Fine-tunes from creation to download."""

from __future__ import annotations

import io
import itertools
import json
import struct
import tarfile
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from .account import BASE_MODEL, Account, conversations, jsonl


def completed(job: dict[str, Any]) -> bool:
    return bool(job["status"] == "completed")


def test_a_job_goes_through_every_stage_in_order(account: Account) -> None:
    job = account.fine_tune()
    account.until(f"/fine-tunes/{job['id']}", completed)

    (seen,) = [one for one in account.emulator.jobs() if one["id"] == job["id"]]
    stages = [stage["status"] for stage in seen["stages"]]
    moments = [stage["at"] for stage in seen["stages"]]
    assert stages == ["pending", "queued", "running", "compressing", "uploading", "completed"]
    assert moments == sorted(moments)


def test_only_the_truncated_object_shows_suffix_and_wandb_name(account: Account) -> None:
    created = account.fine_tune(suffix="marked-7", wandb_name="run-7")
    (row,) = account.get("/fine-tunes")["data"]
    full = account.get(f"/fine-tunes/{created['id']}")

    assert (created["suffix"], row["suffix"], row["wandb_name"]) == ("marked-7", "marked-7", "run-7")
    assert not {"suffix", "wandb_name"} & set(full)
    assert {"trainingfile_numlines", "param_count", "queue_depth", "epochs_completed"} <= set(full) - set(row)
    assert row["model_output_name"] == full["model_output_name"]
    assert "-marked-7-" in row["model_output_name"]


def test_batch_size_max_is_resolved_in_the_row_and_kept_in_the_full_object(account: Account) -> None:
    job = account.fine_tune(batch_size="max")

    assert isinstance(job["batch_size"], int)
    assert account.get(f"/fine-tunes/{job['id']}")["batch_size"] == "max"


@pytest.mark.parametrize("name", ["wandb_key", "wandb_api_key"])
def test_a_wandb_key_is_taken_under_both_names_and_never_shown(account: Account, name: str) -> None:
    job = account.fine_tune(**{name: "secret-7"}, hf_api_token="secret-8")
    full = account.get(f"/fine-tunes/{job['id']}")

    assert full["wandb_url"]
    assert "secret" not in json.dumps([full, account.get("/fine-tunes"), account.emulator.jobs()])


def test_the_loss_is_computed_and_falls(account: Account) -> None:
    job = account.fine_tune(training_file=account.training_file(200), n_epochs=5)
    account.until(f"/fine-tunes/{job['id']}", completed)
    losses = [metric["train/loss"] for metric in account.get(f"/fine-tunes/{job['id']}/metrics")["metrics"]]

    assert len(losses) == 5 * 7
    assert losses[-1] < losses[0] / 2
    assert sum(later < earlier for earlier, later in itertools.pairwise(losses)) > len(losses) * 0.7


def test_the_loss_on_a_validation_file_is_measured_as_often_as_asked(account: Account) -> None:
    validation = account.upload_rows(conversations(20)[:7], "fine-tune")
    job = account.fine_tune(training_file=account.training_file(200), validation_file=validation, n_evals=3, n_epochs=3)
    account.until(f"/fine-tunes/{job['id']}", completed)
    metrics = account.get(f"/fine-tunes/{job['id']}/metrics")["metrics"]
    measured = [metric["eval/loss"] for metric in metrics if "eval/loss" in metric]

    assert len(measured) == 3
    assert measured[2] < measured[0]


def test_jobs_learn_the_same_from_the_same_and_something_else_from_anything_else(account: Account) -> None:
    training_file = account.training_file(200)
    orders: dict[str, Any] = {
        "first": {},
        "alike": {},
        "seed": {"random_seed": 7},
        "rate": {"learning_rate": 3e-5},
        "file": {"training_file": account.upload_rows(conversations(160), "fine-tune")},
        "validated": {"validation_file": account.upload_rows(conversations(20)[:7], "fine-tune"), "n_evals": 1},
    }
    learned = {}
    for name, order in orders.items():
        job = account.fine_tune(**{"training_file": training_file, "n_epochs": 2, **order})
        account.until(f"/fine-tunes/{job['id']}", completed)
        metrics = account.get(f"/fine-tunes/{job['id']}/metrics")["metrics"]
        learned[name] = [(metric["train/loss"], metric.get("eval/loss")) for metric in metrics]

    assert learned["alike"] == learned["first"]
    assert all(learned[name] != learned["first"] for name in orders.keys() - {"first", "alike"})


def test_metrics_are_filtered_by_step_and_time_in_query_and_body(account: Account) -> None:
    job = account.fine_tune(training_file=account.training_file(200), n_epochs=5)
    account.until(f"/fine-tunes/{job['id']}", completed)
    path = f"/fine-tunes/{job['id']}/metrics"

    by_query = account.get(path, global_step_from=3, global_step_to=5)["metrics"]
    by_body = account.http.request("GET", path, json={"global_step_from": 3, "global_step_to": 5}).json()["metrics"]
    assert [metric["global_step"] for metric in by_query] == [3, 4, 5]
    assert by_body == by_query
    assert len(account.get(path, resolution=4)["metrics"]) == 4
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert account.get(path, logged_at_from=tomorrow) == {"metrics": []}
    assert account.http.get(path, params={"global_step_from": "x"}).status_code == 400
    assert account.http.get(path, params={"logged_at_to": "2026-01-01T00:00:00"}).status_code == 400


def test_a_price_has_a_minimum_and_follows_the_tokens(account: Account) -> None:
    body = {"training_file": account.training_file(), "model": BASE_MODEL}
    small = account.post("/fine-tunes/estimate-price", body)
    words = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "word " * 50_000}]}
    large_file = account.upload_rows([words] * 20, "fine-tune")
    large = {
        epochs: account.post("/fine-tunes/estimate-price", body | {"training_file": large_file, "n_epochs": epochs})
        for epochs in (10, 20)
    }

    assert (small["estimation_available"], small["estimated_total_price"]) == (True, 4.0)
    assert large[10]["estimated_train_token_count"] == 10 * 20 * 50_002
    assert large[20]["estimated_total_price"] == pytest.approx(2 * large[10]["estimated_total_price"])
    assert large[20]["estimated_total_price"] > 4


def test_a_job_is_charged_what_was_estimated_in_nano_dollars(account: Account) -> None:
    job = account.fine_tune()

    assert account.get(f"/fine-tunes/{job['id']}")["total_price"] == 4_000_000_000


def test_a_job_beyond_the_credit_is_not_allowed(account: Account) -> None:
    account.emulator.settings(credit_limit=3.5)
    body = {"training_file": account.training_file(), "model": BASE_MODEL}
    estimate = account.post("/fine-tunes/estimate-price", body)
    refused = account.http.post("/fine-tunes", json=body)

    assert (estimate["allowed_to_proceed"], estimate["user_limit"]) == (False, 3.5)
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "insufficient_balance")
    assert account.emulator.counts()["created"]["fine_tune"] == 0


@pytest.mark.parametrize(
    ("content", "reason"), [(b'{"x": 1}\n', "train_file_invalid"), (jsonl(conversations()), "train_file_not_validated")]
)
def test_a_file_that_is_not_ready_cannot_be_priced(account: Account, content: bytes, reason: str) -> None:
    if reason == "train_file_not_validated":
        account.emulator.settings(speed=0.001)
    form = {"purpose": "fine-tune", "file_name": "t.jsonl"}
    file = account.http.post("/files/upload", data=form, files={"file": ("t", content)}).json()
    if reason == "train_file_invalid":
        account.until(f"/files/{file['id']}", lambda file: file["processing_status"] == "INVALID_FORMAT")
    body = {"training_file": file["id"], "model": BASE_MODEL}

    answer = account.post("/fine-tunes/estimate-price", body)
    assert answer == {"estimation_available": False, "unavailable_reason": reason}
    assert account.http.post("/fine-tunes", json=body).status_code == 400


LORA = {"type": "Lora", "lora_r": 8, "lora_alpha": 16}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"n_epochs": 0}, "n_epochs"),
        ({"n_epochs": 21}, "n_epochs"),
        ({"n_epochs": "3"}, "n_epochs"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": 2.0}, "learning_rate"),
        ({"batch_size": 1}, "batch_size"),
        ({"batch_size": 33}, "batch_size"),
        ({"batch_size": "huge"}, "batch_size"),
        ({"warmup_ratio": 1.5}, "warmup_ratio"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"n_evals": 2}, "n_evals"),
        ({"n_checkpoints": 0}, "n_checkpoints"),
        ({"suffix": "x" * 41}, "suffix"),
        ({"lr_scheduler": {"lr_scheduler_type": "steps"}}, "lr_scheduler"),
        ({"training_type": {"type": "Half"}}, "type"),
        ({"training_type": LORA | {"lora_r": 65}}, "lora_r"),
        ({"training_type": LORA | {"lora_dropout": 1}}, "lora_dropout"),
        ({"training_type": {"type": "Lora", "lora_r": 8}}, "training_type"),
        ({"training_method": {"method": "rlhf"}}, "method"),
        ({"training_method": {"method": "dpo"}}, "training_file"),
        ({"training_file": "file-none"}, "training_file"),
        ({"validation_file": "file-none"}, "validation_file"),
        ({"from_checkpoint": "ft-none"}, "from_checkpoint"),
    ],
)
def test_a_request_out_of_bounds_is_refused_and_names_the_field(
    account: Account, request_: dict[str, Any], field: str
) -> None:
    body = {"training_file": account.training_file(), "model": BASE_MODEL} | request_
    answer = account.http.post("/fine-tunes", json=body)

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == field
    assert account.emulator.counts()["created"]["fine_tune"] == 0


def test_an_unknown_model_is_not_found_and_an_untrainable_one_refused(account: Account) -> None:
    training_file = account.training_file()
    unknown = account.http.post("/fine-tunes", json={"training_file": training_file, "model": "no/such"})
    fixed = account.http.post(
        "/fine-tunes", json={"training_file": training_file, "model": "deepseek-ai/DeepSeek-V3.1"}
    )

    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_available")
    assert fixed.status_code == 400


def test_a_file_of_another_purpose_cannot_be_trained_on(account: Account) -> None:
    file_id = account.upload_rows([{"a": 1}], "eval")
    answer = account.http.post("/fine-tunes", json={"training_file": file_id, "model": BASE_MODEL})

    assert "has purpose eval" in answer.json()["error"]["message"]


def test_preferences_are_trained_with_dpo(account: Account) -> None:
    row = {
        "input": {"messages": [{"role": "user", "content": "Say something"}]},
        "preferred_output": [{"role": "assistant", "content": "Something kind"}],
        "non_preferred_output": [{"role": "assistant", "content": "Something rude"}],
    }
    file_id = account.upload_rows([row] * 10, "fine-tune")
    job = account.fine_tune(training_file=file_id, training_method={"method": "dpo", "dpo_beta": 0.2})
    account.until(f"/fine-tunes/{job['id']}", completed)

    assert job["training_method"]["dpo_beta"] == 0.2
    assert account.answer(job["model_output_name"], "Say something") == "Something kind"


def test_events_tell_the_story_in_order(account: Account) -> None:
    job = account.fine_tune(n_epochs=2, n_checkpoints=2, wandb_key="k", validation_file=account.training_file(6))
    account.until(f"/fine-tunes/{job['id']}", completed)
    events = account.get(f"/fine-tunes/{job['id']}/events")["data"]

    assert [event["type"] for event in events] == [
        "job_pending",
        "job_start",
        "training_data_downloading",
        "training_data_download_complete",
        "validation_data_downloading",
        "validation_data_download_complete",
        "model_downloading",
        "model_download_complete",
        "wandb_init",
        "training_start",
        "epoch_complete",
        "checkpoint_save",
        "epoch_complete",
        "checkpoint_save",
        "training_complete",
        "model_compressing",
        "model_compression_complete",
        "model_uploading",
        "model_upload_complete",
        "job_complete",
    ]
    assert {event["object"] for event in events} == {"fine-tune-event"}
    assert [event["created_at"] for event in events] == sorted(event["created_at"] for event in events)
    assert account.get(f"/fine-tunes/{job['id']}")["events"] == events


def test_checkpoints_are_listed_and_can_be_downloaded_and_continued(account: Account) -> None:
    job = account.fine_tune(n_epochs=4, n_checkpoints=2)
    account.until(f"/fine-tunes/{job['id']}", completed)
    checkpoints = account.get(f"/fine-tunes/{job['id']}/checkpoints")["data"]
    file_id = account.upload_rows([{"prompt": "A new question", "completion": "A new answer"}], "fine-tune")
    child = account.fine_tune(training_file=file_id, from_checkpoint=f"{job['id']}:2")
    account.until(f"/fine-tunes/{child['id']}", completed)

    assert [checkpoint["step"] for checkpoint in checkpoints] == [4, 2]
    assert checkpoints[0]["checkpoint_type"].startswith("Final")
    download = account.http.get("/finetune/download", params={"ft_id": job["id"], "checkpoint_step": 2})
    assert download.status_code == 200
    assert account.answer(child["model_output_name"], "A new question") == "A new answer"
    assert "Paris" in account.answer(child["model_output_name"], "What is the capital of France?")


class TestDownload:
    @staticmethod
    def job(account: Account, **request: Any) -> dict[str, Any]:
        job = account.fine_tune(**request)
        return account.until(f"/fine-tunes/{job['id']}", completed)

    def test_a_model_is_a_real_archive_with_real_weights(self, account: Account) -> None:
        query = {"ft_id": self.job(account)["id"], "checkpoint": "merged"}
        whole = account.http.get("/finetune/download", params=query)
        with tarfile.open(fileobj=io.BytesIO(whole.content)) as archive:
            weights = archive.extractfile("model.safetensors")
            vocabulary = archive.extractfile("vocab.json")
            assert weights is not None
            assert vocabulary is not None
            tensor = weights.read()
            words = json.loads(vocabulary.read())

        (length,) = struct.unpack("<Q", tensor[:8])
        described = json.loads(tensor[8 : 8 + length])["emulator.word_weight"]
        assert described["shape"] == [len(words)]
        assert len(tensor) == 8 + length + 4 * len(words)
        assert "x-tar" in whole.headers["content-type"]

    def test_a_range_tells_the_whole_size_and_pieces_make_the_whole(self, account: Account) -> None:
        query = {"ft_id": self.job(account)["id"], "checkpoint": "adapter"}
        whole = account.http.get("/finetune/download", params=query).content
        first = account.http.get("/finetune/download", params=query, headers={"Range": "bytes=0-1"})
        rest = account.http.get("/finetune/download", params=query, headers={"Range": "bytes=2-"})

        assert first.status_code == rest.status_code == 206
        assert first.headers["content-range"] == f"bytes 0-1/{len(whole)}"
        assert first.content + rest.content == whole

    @pytest.mark.parametrize(
        ("training_type", "allowed"),
        [(LORA, {"merged", "adapter"}), ({"type": "Full"}, {"model_output_path"})],
    )
    def test_each_training_type_has_its_own_archives(
        self, account: Account, training_type: dict[str, Any], allowed: set[str]
    ) -> None:
        job = self.job(account, training_type=training_type)
        statuses = {
            checkpoint: account.http.get(
                "/finetune/download", params={"ft_id": job["id"], "checkpoint": checkpoint}
            ).status_code
            for checkpoint in ("merged", "adapter", "model_output_path", "")
        }

        assert {checkpoint for checkpoint, status in statuses.items() if status == 200} == allowed
        assert set(statuses.values()) == {200, 400}

    def test_an_unfinished_or_unknown_model_cannot_be_downloaded(self, account: Account) -> None:
        training_file = account.training_file()
        account.emulator.settings(speed=1)
        job = account.fine_tune(training_file=training_file)
        query = {"ft_id": job["id"], "checkpoint": "merged"}

        assert account.http.get("/finetune/download", params=query).status_code == 400
        assert account.http.get("/finetune/download", params=query | {"ft_id": "ft-0"}).status_code == 404
        assert account.http.get("/finetune/download").status_code == 400
        assert (
            account.http.get("/finetune/download", params={"ft_id": job["id"], "checkpoint_step": 99}).status_code
            == 404
        )


class TestCancel:
    def test_a_running_job_is_cancelled_and_charged_for_what_it_did(self, account: Account) -> None:
        training_file = account.training_file(500)
        account.emulator.settings(speed=60)
        job = account.fine_tune(training_file=training_file, n_epochs=4)
        account.until(f"/fine-tunes/{job['id']}", lambda job: job["epochs_completed"] >= 1)
        answer = account.post(f"/fine-tunes/{job['id']}/cancel")
        account.emulator.settings(speed=3600)
        cancelled = account.until(f"/fine-tunes/{job['id']}", lambda job: job["status"] == "cancelled")

        assert answer["status"] == "cancel_requested"
        assert 0 < cancelled["total_price"] < 4_000_000_000
        assert account.emulator.counts()["cancelled"]["fine_tune"] == 1
        types = [event["type"] for event in account.get(f"/fine-tunes/{job['id']}/events")["data"]]
        assert types[-3:] == ["cancel_requested", "job_stopped", "refund"]
        assert "training_complete" not in types
        assert account.ask(job["model_output_name"], "q").status_code == 404

    def test_cancelling_twice_counts_once_and_an_ended_job_cannot_be_cancelled(self, account: Account) -> None:
        training_file = account.training_file()
        account.emulator.settings(speed=1)
        job = account.fine_tune(training_file=training_file)
        answers = [account.post(f"/fine-tunes/{job['id']}/cancel") for _ in range(2)]
        account.emulator.settings(speed=3600)
        account.until(f"/fine-tunes/{job['id']}", lambda job: job["status"] == "cancelled")

        assert [answer["status"] for answer in answers] == ["cancel_requested"] * 2
        assert account.emulator.counts()["cancelled"]["fine_tune"] == 1
        assert account.http.post(f"/fine-tunes/{job['id']}/cancel").status_code == 400

    def test_only_an_ended_job_can_be_deleted(self, account: Account) -> None:
        training_file = account.training_file()
        account.emulator.settings(speed=1)
        job = account.fine_tune(training_file=training_file)

        assert account.http.delete(f"/fine-tunes/{job['id']}").status_code == 400
        account.emulator.force("fine_tune", job["id"], "error", "Out of memory")
        failed = account.get(f"/fine-tunes/{job['id']}")
        assert (failed["status"], failed["total_price"]) == ("error", 0)
        assert account.get(f"/fine-tunes/{job['id']}/events")["data"][-2]["message"] == "Out of memory"
        assert "message" in account.http.delete(f"/fine-tunes/{job['id']}", params={"force": "false"}).json()
        assert account.http.get(f"/fine-tunes/{job['id']}").status_code == 404


def test_limits_and_supported_models_agree(account: Account) -> None:
    supported = account.get("/fine-tunes/models/supported")["models"]
    limits = account.get("/fine-tunes/models/limits", model_name=supported[0])

    assert BASE_MODEL in supported
    assert limits["model_name"] == supported[0]
    assert limits["lora_training"]["max_rank"] == 64
    assert account.http.get("/fine-tunes/models/limits").status_code == 400
