"""Where clusters and endpoints can run."""

# %% preparation
from together_flows import Together
from together_flows.api import clusters

client = Together()

# %% clusters.list_availability_zones
zones = client.send(clusters.list_availability_zones()).avzones
