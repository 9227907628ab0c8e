"""Images, painted from a prompt."""

# %% preparation
from together_flows import Together
from together_flows.api import images

client = Together()

# %% images.generate
painted = client.send(
    images.generate(model="black-forest-labs/FLUX.1-schnell", prompt="A red bus in the rain.", width=64, height=64)
)
address = painted.data[0].url
