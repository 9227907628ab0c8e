"""Fine-tuning jobs: train a model on a dataset, watch it, and find out what it costs.

`submit_once` and the orchestrators' tasks create a job once, whatever crashes; `fine_tunes.create` alone cannot promise
that. See [jobs](../jobs.md).
"""

# %% preparation
import json
from contextlib import suppress
from pathlib import Path

from together_flows import Together
from together_flows.api import fine_tunes
from together_flows.errors import BadRequest
from together_flows.jobs import WaitPolicy, kind_named, run
from together_flows.jobs.waiting import waiting

rows = [{"prompt": f"Where is parcel {n}?", "completion": f"In depot {n % 7}."} for n in range(50)]
Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

client = Together()
training = client.upload("train.jsonl", purpose="fine-tune")
run(waiting(kind_named("file"), training.id, WaitPolicy(interval=1)), client=client)  # until the API has checked it
model = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"

# %% fine_tunes.list_supported_models
names = client.send(fine_tunes.list_supported_models()).models

# %% fine_tunes.model_limits
limits = client.send(fine_tunes.model_limits(model_name=model))

# %% fine_tunes.estimate_price
price = client.send(fine_tunes.estimate_price(training_file=training.id, model=model, n_epochs=2))
dollars = price.estimated_total_price

# %% fine_tunes.create
job = client.send(
    fine_tunes.create(
        training_file=training.id,
        model=model,
        n_epochs=2,
        suffix="parcels",
        training_type={"type": "Lora", "lora_r": 16},
    )
)

# %% fine_tunes.list
states = {job.id: job.status for job in client.send(fine_tunes.list()).data}

# %% fine_tunes.retrieve
job = client.send(fine_tunes.retrieve(job.id))

# %% fine_tunes.list_events
messages = [event.message for event in client.send(fine_tunes.list_events(job.id)).data]

# %% fine_tunes.list_checkpoints
checkpoints = client.send(fine_tunes.list_checkpoints(job.id)).data

# %% fine_tunes.metrics
metrics = client.send(fine_tunes.metrics(job.id))

# %% fine_tunes.cancel
second = client.send(fine_tunes.create(training_file=training.id, model=model))
with suppress(BadRequest):  # it is done already
    client.send(fine_tunes.cancel(second.id))

# %% fine_tunes.delete
run(waiting(kind_named("fine_tune"), second.id, WaitPolicy(interval=1)), client=client)  # until it is cancelled
client.send(fine_tunes.delete(second.id, force=True))
