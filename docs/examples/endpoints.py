"""Dedicated endpoints: a model on hardware of its own. **Each replica bills by the minute until it is stopped.**

The job kind `endpoint` starts one once, waits until it serves and ends it; in Airflow a teardown and in Prefect a
context manager see to the end. On many accounts these endpoints can no longer be created: `EndpointCreationClosed` says
so.
"""

# %% preparation
from together_flows import Together
from together_flows.api import endpoints
from together_flows.jobs import WaitPolicy, end_job, kind_named, run
from together_flows.jobs.waiting import waiting

client = Together()

# %% endpoints.create
endpoint = client.send(
    endpoints.create(
        model="Qwen/Qwen3-8B",
        hardware="1x_nvidia_h100_80gb_sxm",
        autoscaling={"min_replicas": 1, "max_replicas": 1},
        inactive_timeout=30,
    )
)
run(waiting(kind_named("endpoint"), endpoint.id, WaitPolicy(interval=1)), client=client)

# %% endpoints.list
states = {endpoint.name: endpoint.state for endpoint in client.send(endpoints.list(type="dedicated")).data}

# %% endpoints.retrieve
endpoint = client.send(endpoints.retrieve(endpoint.id))

# %% endpoints.update
endpoint = client.send(endpoints.update(endpoint.id, state="STOPPED"))

# %% endpoints.delete
client.send(endpoints.delete(endpoint.id))
run(end_job(kind_named("endpoint"), endpoint.id), client=client)  # the same, confirmed; twice is harmless
