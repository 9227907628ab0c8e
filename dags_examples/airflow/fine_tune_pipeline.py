"""Train a model, and serve it only if it got better: from files to answers, with the endpoint surely stopped.

It needs the connection `together_default` and nothing else: with your key it runs on the live service, with the
emulator's address it runs on your machine. Trigger it with your own files and limits as params.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task

from airflow_provider.operators.batch import TogetherBatchOperator
from airflow_provider.operators.endpoint import TogetherEndpointOperator
from airflow_provider.operators.evaluation import TogetherEvaluationOperator
from airflow_provider.operators.file import TogetherUploadFileOperator
from airflow_provider.operators.fine_tune import TogetherDownloadModelOperator, TogetherFineTuneOperator
from airflow_provider.operators.operation import TogetherOperator
from airflow_provider.retries import together_retry_policy
from together_flows.jobs.pipeline import PipelineSummary, check_gain, mean_score, score_parameters

#: Columns of the held-out file: what is asked, and the right answer.
PROMPT_COLUMN, REFERENCE_COLUMN = "question", "reference"
#: What the models are told before each question.
SYSTEM = "Answer the question in one short paragraph."
MAX_TOKENS = 256


def text(default: str, description: str) -> Param:
    """A param that is a line of text."""
    return Param(default, type="string", description=description)


with DAG(
    "together_fine_tune_pipeline",
    description="Upload, fine-tune, evaluate, deploy if it got better, answer prompts, stop the endpoint.",
    schedule=None,
    catchup=False,
    tags=["together"],
    default_args={
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "retry_policy": together_retry_policy(),
    },
    params={
        "training_path": text("training.jsonl", "File to train on."),
        "validation_path": text("validation.jsonl", "File to measure the loss on while training."),
        "heldout_path": text("held_out.jsonl", f"File to judge by: {PROMPT_COLUMN} and {REFERENCE_COLUMN} a row."),
        "prompts_path": text("prompts.jsonl", "Prompts to run through the tuned model."),
        "output_folder": text("together_output", "Local folder for the results, the model and the summary."),
        "model": text("Qwen/Qwen3-8B", "Base model."),
        "judge_model": text("meta-llama/Llama-3.3-70B-Instruct-Turbo", "Model that grades the answers, 0 to 10."),
        "n_epochs": Param(1, type="integer", minimum=1, description="Passes over the training file."),
        "suffix": text("tuned", "Joins the tuned model's name."),
        "budget": Param(20.0, type="number", minimum=0, description="US dollars that the training may cost."),
        "margin": Param(0.5, type="number", description="Points by which the tuned model must be better."),
        "hardware": text("1x_nvidia_h100_80gb_sxm", "What the endpoint runs on."),
        "inactive_timeout": Param(
            30, type="integer", minimum=0, description="Minutes without a request after which the endpoint stops."
        ),
    },
) as dag:
    #: Waits hold no worker slot, and none takes longer than this.
    job: dict[str, Any] = {"deferrable": True, "timeout": timedelta(hours=24)}

    upload_training = TogetherUploadFileOperator(
        task_id="upload_training", path="{{ params.training_path }}", purpose="fine-tune", **job
    )
    upload_validation = TogetherUploadFileOperator(
        task_id="upload_validation", path="{{ params.validation_path }}", purpose="fine-tune", **job
    )
    upload_heldout = TogetherUploadFileOperator(
        task_id="upload_heldout", path="{{ params.heldout_path }}", purpose="eval", **job
    )

    fine_tune = TogetherFineTuneOperator(
        task_id="fine_tune",
        training_file=upload_training.output["file_id"],
        validation_file=upload_validation.output["file_id"],
        model="{{ params.model }}",
        n_epochs="{{ params.n_epochs }}",
        n_evals=1,
        suffix="{{ params.suffix }}",
        budget="{{ params.budget }}",
        **job,
    )

    def evaluation_of(name: str, model: Any) -> TogetherEvaluationOperator:
        """Have a model's answers to the held-out questions graded."""
        parameters = score_parameters(
            model,
            judge_model="{{ params.judge_model }}",
            prompt_column=PROMPT_COLUMN,
            reference_column=REFERENCE_COLUMN,
            system=SYSTEM,
            max_tokens=MAX_TOKENS,
        )
        return TogetherEvaluationOperator(
            task_id=f"evaluate_{name}",
            evaluation_type="score",
            input_file_id=upload_heldout.output["file_id"],
            result_path="{{ params.output_folder }}/evaluation_" + f"{name}.jsonl",
            **parameters,
            **job,
        )

    evaluate_base = evaluation_of("base", "{{ params.model }}")
    evaluate_tuned = evaluation_of("tuned", fine_tune.output["model"])

    @task
    def gate(base: dict[str, Any], tuned: dict[str, Any]) -> float:
        """Go on only if the tuned model is better by the margin."""
        margin = float(get_current_context()["params"]["margin"])
        return check_gain(mean_score(base), mean_score(tuned), margin)

    endpoint = TogetherEndpointOperator(
        task_id="endpoint",
        model=fine_tune.output["model"],
        hardware="{{ params.hardware }}",
        inactive_timeout="{{ params.inactive_timeout }}",
        display_name="pipeline {{ run_id }}",
        **job,
    )
    smoke_request = TogetherOperator(
        task_id="smoke_request",
        operation="chat.create",
        arguments={
            "model": endpoint.output["name"],
            "messages": [{"role": "user", "content": "Say hello."}],
            "max_tokens": MAX_TOKENS,
        },
    )
    batch = TogetherBatchOperator(
        task_id="batch",
        rows="{{ params.prompts_path }}",
        output_path="{{ params.output_folder }}/batch_results.jsonl",
        model=endpoint.output["name"],
        system=SYSTEM,
        defaults={"max_tokens": MAX_TOKENS},
        **job,
    )
    stop_endpoint = endpoint.teardown("stop_endpoint")

    download_model = TogetherDownloadModelOperator(
        task_id="download_model",
        ft_id=fine_tune.output["id"],
        output_path="{{ params.output_folder }}/model/",
    )

    @task
    def summary(
        trained: dict[str, Any],
        rows: int | None,
        scores: list[dict[str, Any]],
        served: dict[str, Any],
        stopped: list[str],
        smoke: dict[str, Any],
        answered: dict[str, Any],
        archive: dict[str, Any],
    ) -> dict[str, Any]:
        """Write down what the run did."""
        base, tuned = scores
        facts = PipelineSummary(
            base_model=trained["base_model"],
            model=trained["model"],
            fine_tune=trained["id"],
            training_rows=rows,
            tokens=trained["tokens"],
            estimated_price_usd=trained.get("estimated_price_usd"),
            price_usd=trained["price_usd"],
            base_score=mean_score(base),
            tuned_score=mean_score(tuned),
            endpoint=served["id"],
            endpoint_name=served["name"],
            endpoint_ended=served["id"] in stopped,
            smoke_answer=str(smoke["choices"][0]["message"]["content"]),
            batch_rows=answered["rows"],
            batch_succeeded=answered["succeeded"],
            batch_failed=answered["failed"] + answered["missing"],
            results=answered["output_path"],
            archive=str(archive["path"]),
        )
        facts.write(get_current_context()["params"]["output_folder"])
        return facts.to_dict()

    gate(evaluate_base.output, evaluate_tuned.output) >> endpoint
    endpoint >> smoke_request >> batch >> stop_endpoint
    summary(
        fine_tune.output,
        upload_training.output["rows"],
        [evaluate_base.output, evaluate_tuned.output],
        endpoint.output,
        stop_endpoint.output,
        smoke_request.output,
        batch.output,
        download_model.output,
    )
