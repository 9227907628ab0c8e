"""The voices that speech models speak with."""

# %% preparation
from together_flows import Together
from together_flows.api import voices

client = Together()

# %% voices.list
names = {row.model: [voice.name for voice in row.voices] for row in client.send(voices.list()).data}
