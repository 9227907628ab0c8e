"""Chat completions: a model continues a conversation."""

# %% preparation
from together_flows import Together
from together_flows.api import chat

client = Together()

# %% chat.create
question = chat.create(
    model="Qwen/Qwen3-8B",
    messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Good morning?"}],
    max_tokens=32,
)
answer = client.send(question).choices[0].message.content
pieces = [chunk.choices[0].delta.content for chunk in client.stream(question) if chunk.choices]
