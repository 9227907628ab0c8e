"""Evaluations: a judge model classifies, scores or compares the answers to the rows of a dataset.

The API cannot cancel an evaluation.
"""

# %% preparation
import json
from pathlib import Path

from together_flows import Together
from together_flows.api import evaluation

rows = [{"question": f"{n} + {n}?", "reference": str(2 * n)} for n in range(5)]
Path("heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

client = Together()
heldout = client.upload("heldout.jsonl", purpose="eval")

# %% evaluation.list_models
judges = client.send(evaluation.list_models()).model_list

# %% evaluation.create
created = client.send(
    evaluation.create(
        type="score",
        parameters={
            "input_data_file_path": heldout.id,
            "judge": {
                "model": "meta-llama/Llama-3.3-70B-Instruct-Turbo",
                "model_source": "serverless",
                "system_template": "Score the answer from 0 to 10. Reference: {{ reference }}",
            },
            "model_to_evaluate": {
                "model": "Qwen/Qwen3-8B",
                "model_source": "serverless",
                "system_template": "Answer with a number.",
                "input_template": "{{ question }}",
                "max_tokens": 16,
                "temperature": 0.0,
            },
            "min_score": 0.0,
            "max_score": 10.0,
            "pass_threshold": 5.0,
        },
    )
)

# %% evaluation.list
states = {job.workflow_id: job.status for job in client.send(evaluation.list(limit=10))}

# %% evaluation.status
state = client.send(evaluation.status(created.workflow_id)).status

# %% evaluation.retrieve
results = client.send(evaluation.retrieve(created.workflow_id)).results
