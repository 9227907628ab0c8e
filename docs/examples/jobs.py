"""Jobs of the API's own: the uploads of models."""

# %% preparation
from together_flows import Together
from together_flows.api import jobs, models

client = Together()
upload = client.send(models.upload(model_name="mine", model_source="my-org/my-model"))

# %% jobs.list
states = {job.job_id: job.status for job in client.send(jobs.list()).data}

# %% jobs.retrieve
job = client.send(jobs.retrieve(upload.data.job_id))
