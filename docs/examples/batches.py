"""Batches: a file of requests, answered within a day at a discount.

`together-flows batch`, `TogetherBatchOperator` and Prefect's `batch` take any number of rows and bring the answers back
in their order. See [datasets](../datasets.md) for what they are made of.
"""

# %% preparation
import json
from contextlib import suppress
from pathlib import Path

from together_flows import Together
from together_flows.api import batches
from together_flows.errors import BadRequest

body = {"model": "Qwen/Qwen3-8B", "messages": [{"role": "user", "content": "Good morning?"}], "max_tokens": 8}
lines = [json.dumps({"custom_id": f"row-{number}", "body": body}) for number in range(3)]
Path("requests.jsonl").write_text("\n".join(lines) + "\n")

client = Together()
requests = client.upload("requests.jsonl", purpose="batch-api")

# %% batches.create
batch = client.send(batches.create(input_file_id=requests.id, endpoint="/v1/chat/completions")).job

# %% batches.list
states = {batch.id: batch.status for batch in client.send(batches.list())}

# %% batches.retrieve
batch = client.send(batches.retrieve(batch.id))

# %% batches.cancel
second = client.send(batches.create(input_file_id=requests.id, endpoint="/v1/chat/completions")).job
with suppress(BadRequest):  # it is done already
    client.send(batches.cancel(second.id))
