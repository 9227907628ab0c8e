"""A refusal names the field, what is allowed and what was given, once."""

from __future__ import annotations

from typing import Any

import pytest

from together_flows.api import batches, chat, embeddings, endpoints, evaluation, fine_tunes, models
from together_flows.errors import AnswerInvalid, ArgumentInvalid


def refusal(function: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(ArgumentInvalid) as caught:
        function(*args, **kwargs)
    return str(caught.value)


def of_job(**arguments: Any) -> str:
    return refusal(fine_tunes.create, **{"training_file": "f", "model": "m", **arguments})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n_epochs": 0}, "n_epochs must be greater than or equal to 1 (got 0)."),
        ({"n_epochs": "three"}, "n_epochs must be an integer (got 'three')."),
        ({"n_epochs": 1.5}, "n_epochs must be an integer, got a number with a fractional part (got 1.5)."),
        ({"batch_size": "big"}, "batch_size must be an integer or 'max' (got 'big')."),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number (got nan)."),
        ({"warmup_ratio": 2}, "warmup_ratio must be less than or equal to 1 (got 2)."),
        ({"suffix": "x" * 41}, "suffix must have at most 40 characters."),
        ({"training_file": None}, "training_file must be a string (got NoneType)."),
        ({"training_type": 5}, "training_type must be a dict (got int)."),
        ({"training_type": object()}, "training_type must be a dict (got object)."),
        ({"training_type": {"lora_r": 8}}, "training_type.type is required."),
        ({"training_type": {"type": "Lorax"}}, "training_type.type must be one of 'Lora', 'Full' (got 'Lorax')."),
        ({"training_type": {"type": "Lora", "lora_r": "x"}}, "training_type.lora_r must be an integer (got 'x')."),
        (
            {"training_type": {"type": "Lora", "lora_r": 8, "lora_alph": 8}},
            "training_type has no field 'lora_alph' (did you mean 'lora_alpha'?).",
        ),
        (
            {"lr_scheduler": {"lr_scheduler_type": "cosine", "lr_scheduler_args": {"num_cycles": 0}}},
            "lr_scheduler.lr_scheduler_args.num_cycles must be greater than 0 (got 0).",
        ),
    ],
)
def test_the_field_is_named_with_what_is_allowed_and_what_was_given(arguments: dict[str, Any], words: str):
    assert of_job(**arguments) == f"fine_tunes.create: {words}"


def test_every_wrong_argument_is_told_at_once():
    words = of_job(n_epochs=0, n_evals=-1, packing="perhaps")
    assert "n_epochs must be" in words
    assert "n_evals must be" in words
    assert "packing must be" in words


def test_a_union_of_models_tells_only_of_the_branch_that_was_meant():
    words = of_job(training_method={"method": "dpo", "rpo_alpha": -1})
    assert words == "fine_tunes.create: training_method.rpo_alpha must be greater than or equal to 0 (got -1)."


def test_a_value_that_fits_no_branch_is_told_once():
    words = refusal(
        evaluation.create,
        type="compare",
        parameters={
            "judge": {"model": "j", "model_source": "serverless", "system_template": "t"},
            "model_a": 5,
            "model_b": "answers",
            "input_data_file_path": "file-1",
        },
    )
    assert words == "evaluation.create: parameters.model_a must be a string or a dict (got int)."


def test_the_place_within_lists_is_told():
    assert refusal(chat.create, model="m", messages=[{"role": "user", "content": "x"}, {"role": "user"}]) == (
        "chat.create: messages.1.content is required."
    )
    assert (
        refusal(embeddings.create, model="m", input=["a", 1])
        == "embeddings.create: input.1 must be a string (got int)."
    )
    assert refusal(chat.create, model="m", messages="hello") == "chat.create: messages must be a list (got str)."


def test_a_wrong_type_of_the_parameters_is_not_told_twice():
    assert refusal(evaluation.create, type="comp", parameters={"judge": {}}) == (
        "evaluation.create: type must be 'classify', 'score' or 'compare' (got 'comp')."
    )


def test_long_values_and_long_lists_of_problems_are_cut_short():
    assert "zzz" not in of_job(n_epochs="z" * 200)
    words = refusal(embeddings.create, model="m", input=[*range(1000)])
    assert words.endswith("; and 980 more.")
    assert len(words) < 2000


def test_a_bound_that_spans_fields_is_told_with_both_values():
    words = refusal(endpoints.create, model="m", hardware="h", autoscaling={"min_replicas": 3, "max_replicas": 1})
    assert words == "endpoints.create: autoscaling has more min_replicas (3) than max_replicas (1)."


def test_what_is_wrong_with_an_answer_is_told_too():
    with pytest.raises(AnswerInvalid, match=r"batches\.list: .*1\.status is required"):
        batches.list().parse([{"id": "a", "status": "COMPLETED"}, {"id": "b"}])
    with pytest.raises(AnswerInvalid, match=r"models\.list: .*it must be a list \(got dict\)"):
        models.list().parse({"data": []})


def test_a_long_list_of_wrong_values_is_told_without_comparing_each_with_each():
    words = refusal(embeddings.create, model="m", input=[None] * 20_000)
    assert words.endswith("; and 19980 more.")
