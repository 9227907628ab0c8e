"""The download of what a fine-tuning job has made."""

# %% preparation
import json
from pathlib import Path

from together_flows import Together
from together_flows.api import fine_tunes, finetune
from together_flows.jobs import WaitPolicy, kind_named, run
from together_flows.jobs.waiting import waiting

rows = [{"prompt": f"Where is parcel {n}?", "completion": f"In depot {n % 7}."} for n in range(50)]
Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

client = Together()
training = client.upload("train.jsonl", purpose="fine-tune")
run(waiting(kind_named("file"), training.id, WaitPolicy(interval=1)), client=client)  # until the API has checked it
model = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
job = client.send(fine_tunes.create(training_file=training.id, model=model))
run(waiting(kind_named("fine_tune"), job.id, WaitPolicy(interval=1)), client=client)

# %% finetune.download
archive = client.download(finetune.download(ft_id=job.id, checkpoint="adapter"), "model/", file_name="adapter.tar.gz")
