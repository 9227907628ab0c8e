"""The queue: work for the containers of a deployment, one job at a time.

The API has no list of queued jobs: one whose submission's answer was lost cannot be found again.
"""

# %% preparation
from contextlib import suppress

from together_flows import Together
from together_flows.api import queue
from together_flows.errors import Conflict

client = Together()

# %% queue.submit
job = client.send(queue.submit(model="me/detector", payload={"image": "a.png"}, info={"by": "docs"}, priority=1))

# %% queue.status
status = client.send(queue.status(request_id=job.request_id, model="me/detector")).status

# %% queue.metrics
waiting = client.send(queue.metrics(model="me/detector")).messages_waiting

# %% queue.cancel
with suppress(Conflict):  # it runs already, or is done
    client.send(queue.cancel(model="me/detector", request_id=job.request_id))
