"""Container deployments: GPU services from an image of yours, with their secrets and volumes.

A deployment bills until it is deleted. The job kind `deployment` creates one once, waits until it is ready and ends it.
"""

# %% preparation
from together_flows import Together
from together_flows.api import deployments, files

client = Together()
weights = files.upload(file=b'{"text": "hello"}\n', file_name="weights/a.jsonl", purpose="fine-tune")
client.send(weights)

# %% deployments.create_secret
secret = client.send(deployments.create_secret(name="token", value="s3cret", description="For the model's registry."))

# %% deployments.list_secrets
names = [secret.name for secret in client.send(deployments.list_secrets()).data]

# %% deployments.retrieve_secret
secret = client.send(deployments.retrieve_secret(secret.id))

# %% deployments.update_secret
secret = client.send(deployments.update_secret(secret.id, value="another"))

# %% deployments.create_volume
volume = client.send(
    deployments.create_volume(name="weights", content={"type": "files", "source_prefix": "weights/"}, type="readOnly")
)

# %% deployments.list_volumes
volumes = client.send(deployments.list_volumes()).data

# %% deployments.retrieve_volume
volume = client.send(deployments.retrieve_volume(volume.id))

# %% deployments.update_volume
volume = client.send(deployments.update_volume(volume.id, content={"type": "files", "source_prefix": "weights/"}))

# %% deployments.download_file
path = client.download(deployments.download_file("weights/a.jsonl"), "a.jsonl")

# %% deployments.create
detector = client.send(
    deployments.create(
        name="detector",
        image="registry.together.ai/me/detector",
        gpu_type="h100-80gb",
        min_replicas=1,
        max_replicas=2,
        port=8080,
        environment_variables=[{"name": "TOKEN", "value_from_secret": "token"}],
        volumes=[{"name": "weights", "mount_path": "/weights"}],
    )
)

# %% deployments.list
running = [deployment.name for deployment in client.send(deployments.list()).data]

# %% deployments.retrieve
detector = client.send(deployments.retrieve("detector"))

# %% deployments.logs
lines = client.send(deployments.logs("detector")).lines

# %% deployments.update
detector = client.send(deployments.update("detector", min_replicas=2, max_replicas=2))

# %% deployments.delete
client.send(deployments.delete("detector"))

# %% deployments.delete_volume
client.send(deployments.delete_volume(volume.id))

# %% deployments.delete_secret
client.send(deployments.delete_secret(secret.id))
