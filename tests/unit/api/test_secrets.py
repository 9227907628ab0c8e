"""No repr, exception, traceback or pickle-free log shows a secret; only `revealed` does, on the way to the socket."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from pydantic import SecretStr

from together_flows.api import compute, deployments, evaluation, files, fine_tunes, models, rl
from together_flows.api._operation import Operation, revealed
from together_flows.errors import AnswerInvalid, ArgumentInvalid

SECRET = "sk-do-not-show-me"

JUDGE = {
    "model": "openai/gpt-5",
    "model_source": "external",
    "system_template": "Judge.",
    "external_api_token": SECRET,
}
EVALUATED = {**JUDGE, "input_template": "{{ q }}", "max_tokens": 10, "temperature": 0}
SCORING = {
    "judge": JUDGE,
    "min_score": 1,
    "max_score": 5,
    "pass_threshold": 3,
    "input_data_file_path": "file-1",
    "model_to_evaluate": EVALUATED,
}

MADE: list[Operation[Any]] = [
    fine_tunes.create(training_file="f", model="m", wandb_api_key=SECRET, hf_api_token=SecretStr(SECRET)),
    models.upload(model_name="m", model_source="s", hf_token=SECRET),
    evaluation.create(type="score", parameters=SCORING),
    deployments.create_secret(name="key", value=SECRET),
    deployments.update_secret("key", value=SECRET),
    deployments.create(
        gpu_type="h100-80gb", image="i", name="n", environment_variables=[{"name": "A", "value": SECRET}]
    ),
    deployments.update("n", environment_variables=[deployments.EnvironmentVariable(name="A", value=SECRET)]),
]


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.name)
def test_an_operation_hides_its_secrets_and_reveals_them_when_asked(made: Operation[Any]):
    assert SECRET not in repr(made)
    assert SECRET not in str(made.body)
    assert SECRET in repr(revealed(made.body))


def test_nested_arguments_hide_their_secrets_too():
    assert SECRET not in repr(evaluation.Judge(**JUDGE))
    assert SECRET not in str(deployments.EnvironmentVariable(name="A", value=SECRET))


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (fine_tunes.create, {"training_file": 5, "model": "m", "wandb_api_key": SECRET}),
        (fine_tunes.create, {"training_file": "f", "model": "m", "wandb_api_key": [SECRET]}),
        (fine_tunes.create, {"training_file": "f", "wandb_api_key": SECRET}),
        (evaluation.create, {"type": "score", "parameters": {**SCORING, "max_score": 0}}),
        (evaluation.create, {"type": "classify", "parameters": SCORING}),
        (evaluation.create, {"type": "score", "parameters": {**SCORING, "judge": {**JUDGE, "num_workers": 0}}}),
        (evaluation.create, {"type": "score", "parameters": [SECRET]}),
        (
            deployments.create,
            {
                "gpu_type": "g",
                "image": "i",
                "name": "n",
                "environment_variables": [{"name": "A", "value": SECRET, "value_from_secret": "b"}],
            },
        ),
        (deployments.create_secret, {"name": "not allowed!", "value": SECRET}),
        (deployments.create_secret, {"name": "ok", "value": {"a": SECRET}}),
    ],
)
def test_a_refusal_tells_no_secret_anywhere_in_its_traceback(function: Any, arguments: dict[str, Any]):
    with pytest.raises(ArgumentInvalid) as caught:
        function(**arguments)
    error = caught.value
    assert (error.__cause__, error.__context__) == (None, None)
    shown = traceback.TracebackException.from_exception(error)
    assert SECRET not in "".join(shown.format())
    assert SECRET not in repr(error)


def test_a_secret_of_a_wrong_type_is_not_shown():
    with pytest.raises(ArgumentInvalid, match=r"wandb_api_key must be a string \(got int\)"):
        fine_tunes.create(training_file="f", model="m", wandb_api_key=1234567890)


def test_an_empty_secret_is_refused():
    with pytest.raises(ArgumentInvalid, match="value must have at least 1 character"):
        deployments.create_secret(name="key", value="")


def test_secrets_within_answers_show_in_no_repr():
    target = files.UploadTarget(file_id="file-1", url=f"https://store/?sig={SECRET}")
    cluster = compute.retrieve_cluster("c").parse({"cluster_id": "c", "status": "Ready", "kube_config": SECRET})
    checkpoint = rl.download_checkpoint("c", variant="CHECKPOINT_VARIANT_MERGED").parse(
        {"data": [{"filename": "a", "url": f"https://store/?sig={SECRET}", "size": "12"}]}
    )
    evaluated = evaluation.retrieve("e").parse({"workflow_id": "e", "status": "running", "parameters": SCORING})
    deployed = deployments.retrieve("d").parse(
        {"id": "d", "status": "Ready", "environment_variables": [{"name": "A", "value": SECRET}]}
    )
    for answer in (target, cluster, checkpoint, evaluated, deployed):
        assert SECRET not in repr(answer)
        assert SECRET in answer.model_dump_json()


def test_an_answer_that_is_refused_tells_no_secret():
    with pytest.raises(AnswerInvalid) as caught:
        compute.retrieve_cluster("c").parse({"cluster_id": "c", "kube_config": SECRET})
    assert SECRET not in "".join(traceback.TracebackException.from_exception(caught.value).format())
    assert caught.value.__context__ is None
