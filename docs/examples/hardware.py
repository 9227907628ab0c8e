"""The hardware that endpoints run on, and what it costs."""

# %% preparation
from together_flows import Together
from together_flows.api import hardware

client = Together()

# %% hardware.list
rows = client.send(hardware.list(model="Qwen/Qwen3-8B")).data
cents_per_minute = {row.id: row.pricing.cents_per_minute for row in rows}
