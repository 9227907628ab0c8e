"""GPU clusters and the volumes that they share. Both bill until they are deleted.

The job kinds `cluster` and `shared_volume` create one once, wait until it is ready and end it.
"""

# %% preparation
from together_flows import Together
from together_flows.api import compute
from together_flows.jobs import WaitPolicy, kind_named, run
from together_flows.jobs.waiting import waiting

client = Together()

# %% compute.list_regions
regions = [region.name for region in client.send(compute.list_regions()).regions]

# %% compute.create_volume
volume = client.send(compute.create_volume(volume_name="data", size_tib=1, region="us-central-8"))

# %% compute.list_volumes
volumes = client.send(compute.list_volumes()).volumes

# %% compute.retrieve_volume
volume = client.send(compute.retrieve_volume(volume.volume_id))

# %% compute.update_volume
volume = client.send(compute.update_volume(volume_id=volume.volume_id, size_tib=2))

# %% compute.delete_volume
client.send(compute.delete_volume(volume.volume_id))

# %% compute.create_cluster
cluster = client.send(
    compute.create_cluster(
        cluster_name="training",
        region="us-central-8",
        gpu_type="H100_SXM",
        num_gpus=8,
        driver_version="CUDA_12_8_570",
        billing_type="ON_DEMAND",
    )
)
run(waiting(kind_named("cluster"), cluster.cluster_id, WaitPolicy(interval=1)), client=client)

# %% compute.list_clusters
names = [cluster.cluster_name for cluster in client.send(compute.list_clusters()).clusters]

# %% compute.retrieve_cluster
cluster = client.send(compute.retrieve_cluster(cluster.cluster_id))

# %% compute.update_cluster
cluster = client.send(compute.update_cluster(cluster.cluster_id, num_gpus=16))

# %% compute.delete_cluster
client.send(compute.delete_cluster(cluster.cluster_id))
