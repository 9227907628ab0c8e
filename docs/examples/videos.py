"""Videos, made from a prompt. They are ready after a while; the job kind `video` waits for them.

The API has no list of videos: one whose creation's answer was lost cannot be found again.
"""

# %% preparation
from together_flows import Together
from together_flows.api import videos
from together_flows.client import download_signed

client = Together()

# %% videos.create
video = client.send(videos.create(model="minimax/hailuo-02", prompt="A red bus in the rain.", seconds="5"))

# %% videos.retrieve
video = client.send(videos.retrieve(video.id))
if video.status == "completed":
    path = download_signed(video.outputs.video_url, "bus.mp4")
