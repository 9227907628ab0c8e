"""Completions: a model continues a text."""

# %% preparation
from together_flows import Together
from together_flows.api import completions

client = Together()

# %% completions.create
text = client.send(completions.create(model="Qwen/Qwen3-8B", prompt="Once upon a time", max_tokens=32)).choices[0].text
