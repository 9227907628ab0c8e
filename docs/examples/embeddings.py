"""Embeddings: texts as vectors."""

# %% preparation
from together_flows import Together
from together_flows.api import embeddings

client = Together()

# %% embeddings.create
answer = client.send(embeddings.create(model="BAAI/bge-base-en-v1.5", input=["a red bus", "a blue boat"]))
vectors = [row.embedding for row in answer.data]
