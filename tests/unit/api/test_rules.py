"""Rules that cost money when they are broken are checked before anything is sent."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from together_flows.api import audio, compute, deployments, endpoints, evaluation, fine_tunes, rl, videos
from together_flows.errors import ArgumentInvalid

JUDGE = {"model": "j", "model_source": "serverless", "system_template": "Judge {{ answer }}."}
CLASSIFY = {"judge": JUDGE, "labels": ["good", "bad"], "pass_labels": ["good"], "input_data_file_path": "file-1"}
SCORE = {"judge": JUDGE, "min_score": 1, "max_score": 5, "pass_threshold": 3, "input_data_file_path": "file-1"}
COMPARE = {"judge": JUDGE, "model_a": "before", "model_b": "after", "input_data_file_path": "file-1"}


def job(**arguments: Any) -> dict[str, Any]:
    body = fine_tunes.create(**{"training_file": "f", "model": "m", **arguments}).body
    assert body is not None
    return dict(body)


def refused(match: str) -> Any:
    return pytest.raises(ArgumentInvalid, match=match)


class TestFineTuning:
    def test_alpha_is_twice_the_rank_unless_given(self):
        assert job(training_type={"type": "Lora", "lora_r": 8})["training_type"]["lora_alpha"] == 16
        assert job(training_type={"type": "Lora", "lora_r": 8, "lora_alpha": 4})["training_type"]["lora_alpha"] == 4

    def test_models_and_dicts_are_the_same(self):
        as_models = job(
            training_type=fine_tunes.LoraTraining(lora_r=8, lora_dropout=0.1),
            training_method=fine_tunes.SftMethod(train_on_inputs=True),
            lr_scheduler=fine_tunes.LinearScheduler(lr_scheduler_args=fine_tunes.LinearArgs(min_lr_ratio=0.1)),
            multimodal_params=fine_tunes.MultimodalParams(train_vision=True),
        )
        as_dicts = job(
            training_type={"type": "Lora", "lora_r": 8, "lora_dropout": 0.1},
            training_method={"method": "sft", "train_on_inputs": True},
            lr_scheduler={"lr_scheduler_type": "linear", "lr_scheduler_args": {"min_lr_ratio": 0.1}},
            multimodal_params={"train_vision": True},
        )
        assert as_models == as_dicts
        assert job(training_type=fine_tunes.FullTraining())["training_type"] == {"type": "Full"}

    def test_a_job_needs_a_model_or_a_checkpoint(self):
        with refused("model is required, unless the job continues from_checkpoint"):
            fine_tunes.create(training_file="f")
        assert job(model=None, from_checkpoint="ft-1:100") == {"training_file": "f", "from_checkpoint": "ft-1:100"}
        assert job(from_checkpoint="ft-1")["model"] == "m"

    def test_a_job_starts_from_one_place(self):
        with refused("from_checkpoint and from_hf_model exclude each other"):
            job(from_checkpoint="ft-1", from_hf_model="org/model")
        with refused("from_hf_model needs model|model is required"):
            fine_tunes.create(training_file="f", from_hf_model="org/model")

    @pytest.mark.parametrize("name", ["dpo_beta", "rpo_alpha", "simpo_gamma", "dpo_reference_free"])
    def test_arguments_of_preference_training_do_not_go_with_supervised_training(self, name: str):
        with refused(f"training_method takes no {name}"):
            job(training_method={"method": "sft", name: 0.1})

    def test_training_on_inputs_does_not_go_with_preference_training(self):
        with refused("train_on_inputs belongs to"):
            job(training_method={"method": "dpo"}, train_on_inputs=True)
        with refused("takes no train_on_inputs"):
            job(training_method={"method": "dpo", "train_on_inputs": True})

    def test_simpo_sets_the_switches_that_it_implies(self):
        method = job(training_method={"method": "dpo", "simpo_gamma": 0.5})["training_method"]
        assert method["dpo_reference_free"] is method["dpo_normalize_logratios_by_length"] is True
        assert "dpo_reference_free" not in job(training_method={"method": "dpo", "simpo_gamma": 0})["training_method"]
        with refused("with simpo_gamma needs"):
            job(training_method={"method": "dpo", "simpo_gamma": 0.5, "dpo_reference_free": False})

    def test_a_scheduler_takes_the_arguments_of_its_kind(self):
        assert job(lr_scheduler={"lr_scheduler_type": "cosine", "lr_scheduler_args": {}})["lr_scheduler"] == {
            "lr_scheduler_type": "cosine",
            "lr_scheduler_args": {"min_lr_ratio": 0.0, "num_cycles": 0.5},
        }
        with refused("num_cycles must be greater than 0"):
            job(lr_scheduler={"lr_scheduler_type": "cosine", "lr_scheduler_args": {"num_cycles": -1}})

    @pytest.mark.parametrize(
        ("name", "allowed", "beyond"),
        [
            ("n_epochs", 1, 0),
            ("n_evals", 0, -1),
            ("batch_size", 1, 0),
            ("batch_size", "max", "min"),
            ("learning_rate", 1e-9, 0),
            ("warmup_ratio", 1, 1.01),
            ("max_grad_norm", 0, -0.1),
            ("weight_decay", 0, -0.1),
            ("suffix", "x" * 40, "x" * 41),
        ],
    )
    def test_bounds(self, name: str, allowed: Any, beyond: Any):
        assert job(**{name: allowed})[name] == allowed
        with refused(rf"{name} must"):
            job(**{name: beyond})

    def test_a_misspelt_field_of_a_nested_argument_is_refused_and_a_new_one_passes(self):
        with refused("did you mean 'lora_dropout'"):
            job(training_type={"type": "Lora", "lora_r": 8, "lora_drop_out": 0.1})
        new = {"type": "Lora", "lora_r": 8, "lora_alpha": 16, "quantization": "int4"}
        assert job(training_type=new)["training_type"] == new

    def test_numbers_may_come_as_text_as_templates_make_them(self):
        assert job(n_epochs="3", learning_rate="1e-5", packing="false") == {
            "training_file": "f",
            "model": "m",
            "n_epochs": 3,
            "learning_rate": 1e-5,
            "packing": False,
        }


class TestEvaluation:
    @pytest.mark.parametrize(("kind", "parameters"), [("classify", CLASSIFY), ("score", SCORE), ("compare", COMPARE)])
    def test_each_kind_is_sent_as_it_was_given(self, kind: Any, parameters: dict[str, Any]):
        assert evaluation.create(type=kind, parameters=parameters).body == {"type": kind, "parameters": parameters}

    @pytest.mark.parametrize(
        ("kind", "parameters", "match"),
        [
            ("classify", {**CLASSIFY, "labels": ["good"]}, r"labels must have at least 2 items"),
            ("classify", {**CLASSIFY, "pass_labels": ["fine"]}, r"not among its labels: 'fine'"),
            ("classify", {**CLASSIFY, "pass_labels": []}, r"pass_labels must have at least 1 item\b"),
            ("classify", {**CLASSIFY, "min_score": 1}, r"takes no min_score, because type is 'classify'"),
            ("classify", SCORE, r"takes no min_score, max_score, pass_threshold, because type is 'classify'"),
            ("score", {**SCORE, "max_score": 1}, r"needs a min_score below its max_score"),
            ("score", {**SCORE, "pass_threshold": 6}, r"needs a pass_threshold from min_score to max_score"),
            ("compare", {**COMPARE, "model_b": None}, r"model_b must be a string or a dict"),
            ("compare", {**COMPARE, "model_to_evaluate": "x"}, r"takes no model_to_evaluate"),
            ("score", {**SCORE, "judge": {**JUDGE, "model_source": "external"}}, r"judge needs external_api_token"),
            ("score", {**SCORE, "model_to_evaluate": {"model": "m"}}, r"model_to_evaluate\.input_template is required"),
        ],
    )
    def test_parameters_that_do_not_fit_are_refused(self, kind: Any, parameters: dict[str, Any], match: str):
        with refused(match):
            evaluation.create(type=kind, parameters=parameters)

    def test_parameters_as_a_model_must_be_of_the_kind(self):
        judge = evaluation.Judge(**JUDGE)
        parameters = evaluation.CompareParameters(judge=judge, model_a="a", model_b="b", input_data_file_path="f")
        assert evaluation.create(type="compare", parameters=parameters).body["parameters"]["model_a"] == "a"
        with refused("must be ScoreParameters, because type is 'score'"):
            evaluation.create(type="score", parameters=parameters)

    @pytest.mark.parametrize(("temperature", "fits"), [(0, True), (2, True), (2.1, False)])
    def test_a_model_is_evaluated_within_its_bounds(self, temperature: float, fits: bool):
        model = {**JUDGE, "input_template": "{{ q }}", "max_tokens": 1, "temperature": temperature}
        if fits:
            made = evaluation.create(type="score", parameters={**SCORE, "model_to_evaluate": model})
            assert made.body["parameters"]["model_to_evaluate"] == model
        else:
            with refused("temperature must be less than or equal to 2"):
                evaluation.create(type="score", parameters={**SCORE, "model_to_evaluate": model})

    @pytest.mark.parametrize("limit", [0, 101])
    def test_a_list_is_at_most_a_hundred_long(self, limit: int):
        with refused("limit must be"):
            evaluation.list(limit=limit)


class TestWhatBillsUntilItIsStopped:
    def test_an_endpoint_never_has_a_least_number_of_replicas_above_the_most(self):
        with refused("more min_replicas"):
            endpoints.update("e", autoscaling={"min_replicas": 2, "max_replicas": 1})

    def test_a_deployment_neither(self):
        with refused(r"min_replicas \(2\) exceeds max_replicas \(1\)"):
            deployments.update("d", min_replicas=2, max_replicas=1)

    @pytest.mark.parametrize("name", ["a b", "", "é", "a/b", "x" * 101])
    def test_the_name_of_a_deployment_is_letters_digits_underscores_and_hyphens(self, name: str):
        with refused("name must match"):
            deployments.create(gpu_type="h100-80gb", image="i", name=name)

    def test_the_name_of_a_secret_may_have_slashes_and_dots(self):
        assert deployments.create_secret(name="team/a.key", value="x").body["name"] == "team/a.key"
        assert deployments.retrieve_secret("team/a.key").path == "/deployments/secrets/team%2Fa.key"

    @pytest.mark.parametrize(
        ("name", "beyond"),
        [("cpu", 0.05), ("memory", 1001), ("storage", 401), ("port", 0), ("port", 65536), ("gpu_count", -1)],
    )
    def test_the_bounds_of_a_container(self, name: str, beyond: float):
        with refused(f"{name} must be"):
            deployments.create(gpu_type="h100-80gb", image="i", name="n", **{name: beyond})

    @pytest.mark.parametrize("variable", [{"name": "A"}, {"name": "A", "value": "x", "value_from_secret": "y"}])
    def test_an_environment_variable_has_one_source(self, variable: dict[str, str]):
        with refused(r"environment_variables\.0 needs either value or value_from_secret"):
            deployments.update("d", environment_variables=[variable])

    def test_scaling_is_checked_by_its_metric_and_a_new_metric_passes(self):
        with refused("custom_metric_name must match"):
            deployments.update("d", autoscaling={"metric": "CustomMetric", "custom_metric_name": "no spaces"})
        with refused("custom_metric_name is required"):
            deployments.update("d", autoscaling={"metric": "CustomMetric"})
        new = {"metric": "GpuHeat", "target": 80}
        assert deployments.update("d", autoscaling=new).body == {"autoscaling": new}

    @pytest.mark.parametrize("num_gpus", [0, 4, 12, -8])
    def test_a_cluster_has_a_multiple_of_eight_gpus(self, num_gpus: int):
        with refused("num_gpus must be"):
            compute.update_cluster("c", num_gpus=num_gpus)

    def test_a_cluster_names_its_drivers_in_one_word_or_in_two(self):
        cluster = {
            "region": "us-1",
            "gpu_type": "H100_SXM",
            "num_gpus": 8,
            "cluster_name": "c",
            "billing_type": "ON_DEMAND",
        }
        pair = {"cuda_version": "12.8", "nvidia_driver_version": "570"}
        assert compute.create_cluster(**cluster, driver_version="CUDA_12_8_570").body
        assert compute.create_cluster(**cluster, **pair).body == {**cluster, **pair}
        with refused("driver_version is required, or cuda_version with nvidia_driver_version"):
            compute.create_cluster(**cluster, cuda_version="12.8")


class TestMedia:
    def test_streamed_speech_is_raw(self):
        with refused(r"response_format must be 'raw' when the speech is streamed \(got 'mp3'\)"):
            audio.create_speech(model="m", input="Hi", voice="v", response_format="mp3", stream=True)
        assert audio.create_speech(model="m", input="Hi", voice="v", response_format="raw", stream=True).body["stream"]

    def test_the_number_of_speakers_is_a_range(self):
        with refused(r"min_speakers \(3\) exceeds max_speakers \(2\)"):
            audio.create_transcription(file=b"RIFF", min_speakers=3, max_speakers=2)

    def test_granularities_are_one_or_two(self):
        assert audio.create_translation(file=b"RIFF", timestamp_granularities=["word", "segment"]).body == {
            "timestamp_granularities": ["word", "segment"]
        }
        with refused("timestamp_granularities"):
            audio.create_translation(file=b"RIFF", timestamp_granularities=[])

    def test_the_duration_of_a_video_is_sent_as_text(self):
        assert videos.create(model="m", seconds=5).body["seconds"] == "5"

    @pytest.mark.parametrize(("name", "beyond"), [("steps", 9), ("steps", 51), ("prompt", ""), ("prompt", "x" * 32001)])
    def test_the_bounds_of_a_video(self, name: str, beyond: Any):
        with refused(f"{name} must"):
            videos.create(model="m", **{name: beyond})


class TestReinforcement:
    PROMPT: ClassVar[dict[str, Any]] = {"chunks": [{"encoded_text": {"tokens": [1]}}]}

    @pytest.mark.parametrize(
        ("name", "allowed", "beyond"),
        [
            ("top_p", 1, 3),
            ("top_p", 0, -0.1),
            ("temperature", 0, -1),
            ("top_k", -1, -2),
            ("max_tokens", 1, 0),
            ("max_tokens", 1, True),
        ],
    )
    def test_the_bounds_of_sampling(self, name: str, allowed: Any, beyond: Any):
        made = rl.sample("s", prompts=[self.PROMPT], sampling_params={name: allowed})
        assert made.body["sampling_params"] == {name: allowed}
        with refused(rf"sampling_params\.{name} must be"):
            rl.sample("s", prompts=[self.PROMPT], sampling_params={name: beyond})

    @pytest.mark.parametrize(
        ("name", "beyond"), [("beta1", 1), ("beta2", 1), ("eps", 0), ("weight_decay", -0.1), ("beta1", True)]
    )
    def test_the_bounds_of_the_optimizer(self, name: str, beyond: Any):
        with refused(rf"adamw_params\.{name} must be"):
            rl.optim_step("s", adamw_params={name: beyond})

    @pytest.mark.parametrize(("name", "beyond"), [("rank", 0), ("alpha", 0), ("dropout", 1)])
    def test_the_bounds_of_an_adapter(self, name: str, beyond: Any):
        with refused(rf"lora_config\.{name} must be"):
            rl.create_session(base_model="m", lora_config={name: beyond})

    @pytest.mark.parametrize("name", ["clip_low", "clip_high", "beta"])
    def test_the_bounds_of_a_loss(self, name: str):
        with refused(rf"loss\.grpo_params\.{name} must be"):
            rl.forward_backward("s", samples=[], loss={"type": "LOSS_TYPE_GRPO", "grpo_params": {name: -1}})

    def test_a_token_has_64_bits(self):
        with refused(r"tokens\.0 must be less than"):
            rl.sample("s", prompts=[{"chunks": [{"encoded_text": {"tokens": [2**63]}}]}])


def test_a_seed_of_64_bits_is_sent_as_text():
    made = rl.sample(
        "s", prompts=[{"chunks": [{"encoded_text": {"tokens": [1, 2]}}]}], sampling_params={"seed": 2**63 - 1}
    )
    assert made.body["sampling_params"]["seed"] == str(2**63 - 1)
    with refused("sampling_params.seed must match"):
        rl.sample("s", prompts=[], sampling_params={"seed": "seven"})
