"""Reranking: which documents fit a question best."""

# %% preparation
from together_flows import Together
from together_flows.api import rerank

client = Together()

# %% rerank.create
documents = ["A red bus.", "A blue boat.", "The bus is late."]
ranking = client.send(
    rerank.create(model="Salesforce/Llama-Rank-V1", query="Where is the bus?", documents=documents, top_n=2)
)
best = [documents[result.index] for result in ranking.results]
