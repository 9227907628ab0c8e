"""Realtime: speech written down while it is spoken. It needs the extra `realtime`."""

# %% preparation
import base64

from together_flows import Together
from together_flows.api import realtime

client = Together()
second_of_silence = bytes(2 * 16_000)

# %% realtime.connect
with client.connect(realtime.connect(model="openai/whisper-large-v3")) as session:
    session.send({"type": "input_audio_buffer.append", "audio": base64.b64encode(second_of_silence).decode()})
    session.send({"type": "input_audio_buffer.commit"})
    for event in session:
        if event.type.endswith(".completed"):
            text = event.transcript
            break
