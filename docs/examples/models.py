"""Models: the catalogue, and the copying of models of your own to Together AI.

An upload takes a while; the job kind `model_upload` waits for it. The API cannot cancel one.
"""

# %% preparation
from together_flows import Together
from together_flows.api import models

client = Together()

# %% models.list
prices = {model.id: model.pricing for model in client.send(models.list()) if model.type == "chat"}

# %% models.upload
upload = client.send(models.upload(model_name="mine", model_source="my-org/my-model", description="Trained at home."))
