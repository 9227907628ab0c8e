"""Reinforcement learning: sessions that hold a model and train it step by step.

A session bills until it is stopped. Its operations run in the background: each answers with an id to read it by. With
an `idempotency_key` an operation can be repeated safely. The job kinds `rl_session` and `rl_operation` see to all that.
"""

# %% preparation
from together_flows import Together
from together_flows.api import rl
from together_flows.jobs import WaitPolicy, kind_named, run
from together_flows.jobs.waiting import waiting

client = Together()

# %% rl.create_session
session = client.send(
    rl.create_session(
        base_model="meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", lora_config={"rank": 8, "alpha": 16}
    )
)
run(waiting(kind_named("rl_session"), session.id, WaitPolicy(interval=1)), client=client)

# %% rl.list_sessions
states = {session.id: session.status for session in client.send(rl.list_sessions(limit=10)).data}

# %% rl.forward_backward
text = {"chunks": [{"encoded_text": {"tokens": [1, 2, 3]}}]}
target = {"target_tokens": {"data": [2, 3, 4]}}
passed = client.send(
    rl.forward_backward(
        session.id,
        samples=[{"model_input": text, "loss_inputs": target}],
        loss={"type": "LOSS_TYPE_CROSS_ENTROPY"},
        idempotency_key="pass-1",
    )
)

# %% rl.retrieve_forward_backward
passed = client.send(rl.retrieve_forward_backward(session.id, passed.id))

# %% rl.optim_step
step = client.send(rl.optim_step(session.id, learning_rate=1e-4, idempotency_key="step-1"))

# %% rl.retrieve_optim_step
step = client.send(rl.retrieve_optim_step(session.id, step.id))

# %% rl.sample
sampled = client.send(rl.sample(session.id, prompts=[text], sampling_params={"max_tokens": 4}, num_samples=2))

# %% rl.retrieve_sample
sampled = client.send(rl.retrieve_sample(session.id, sampled.id))

# %% rl.create_training_checkpoint
saved = client.send(rl.create_training_checkpoint(session.id))

# %% rl.retrieve_training_checkpoint
saved = client.send(rl.retrieve_training_checkpoint(session.id, saved.id))

# %% rl.create_inference_checkpoint
served = client.send(rl.create_inference_checkpoint(session.id))
run(
    waiting(kind_named("rl_operation"), f"{session.id}/inference_checkpoint/{served.id}", WaitPolicy(interval=1)),
    client=client,
)

# %% rl.retrieve_inference_checkpoint
served = client.send(rl.retrieve_inference_checkpoint(session.id, served.id))

# %% rl.retrieve_session
checkpoints = client.send(rl.retrieve_session(session.id)).inference_checkpoints

# %% rl.download_checkpoint
files = client.send(rl.download_checkpoint(checkpoints[0].id, variant="CHECKPOINT_VARIANT_ADAPTER")).data

# %% rl.stop_session
session = client.send(rl.stop_session(session.id))
