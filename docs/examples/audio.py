"""Audio: speech out of text, and text out of speech.

The WebSocket session needs the extra `realtime`.
"""

# %% preparation
from pathlib import Path

from together_flows import Together
from together_flows.api import audio

client = Together()

# %% audio.create_speech
speech = audio.create_speech(model="hexgrad/Kokoro-82M", input="Good morning.", voice="af_alloy", response_format="wav")
path = client.download(speech, "morning.wav")

# %% audio.create_transcription
text = client.send(audio.create_transcription(file=Path("morning.wav"), model="openai/whisper-large-v3")).text

# %% audio.create_translation
text = client.send(audio.create_translation(file=Path("morning.wav"), language="en")).text

# %% audio.connect_speech
with client.connect(audio.connect_speech(model="hexgrad/Kokoro-82M", voice="af_alloy")) as session:
    session.send({"type": "input_text_buffer.append", "text": "Good morning."})
    session.send({"type": "input_text_buffer.commit"})
    spoken = []
    for event in session:
        if event.type == "conversation.item.audio_output.delta":
            spoken.append(event.delta)
        if event.type == "conversation.item.audio_output.done":
            break
