"""The general operator: templates in its arguments, and sessions held in one go."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider.operators.operation import TogetherOperator
from tests.integration.airflow.dag_run import FinishedRun
from together_flows.emulator import Emulator
from together_flows.emulator.sound import wav

RunDag = Callable[[DAG], FinishedRun]

MODEL = "Qwen/Qwen3-8B"
SPEECH = {"model": "hexgrad/Kokoro-82M", "voice": "{{ params.voice }}"}
QUESTION = [{"role": "user", "content": "{{ params.question }}"}]


def test_a_text_is_spoken_into_a_file_and_a_recording_written_down(
    run_dag: RunDag, emulator: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "recording.wav").write_bytes(wav("Parcel 7 waits.", rate=16_000, encoding="pcm_s16le"))
    with DAG("sessions", schedule=None, params={"voice": "af_alloy", "folder": str(tmp_path), "day": "Monday"}) as dag:
        TogetherOperator(
            task_id="speak",
            operation="audio.connect_speech",
            arguments=SPEECH,
            session_input=["Good ", "morning. It is {{ params.day }}."],
            output_path="{{ params.folder }}/speech.wav",
        )
        TogetherOperator(
            task_id="speak_to_storage",
            operation="audio.connect_speech",
            arguments=SPEECH,
            session_input="Good morning. It is {{ params.day }}.",
            output_path="file://{{ params.folder }}/stored.wav",
        )
        TogetherOperator(
            task_id="write_down",
            operation="realtime.connect",
            arguments={"model": "openai/whisper-large-v3"},
            session_input="file://{{ params.folder }}/recording.wav",
        )
        TogetherOperator(
            task_id="write_down_to_a_file",
            operation="realtime.connect",
            arguments={"model": "openai/whisper-large-v3"},
            session_input="{{ params.folder }}/recording.wav",
            output_path="{{ params.folder }}/text.json",
        )
    run = run_dag(dag)

    assert run.state == "success", run.log
    spoken, stored = tmp_path / "speech.wav", tmp_path / "stored.wav"
    assert run.xcom("speak") == {"path": str(spoken), "bytes": spoken.stat().st_size}
    assert run.xcom("speak_to_storage") == {"path": f"file://{stored}", "bytes": stored.stat().st_size}
    assert stored.read_bytes() == spoken.read_bytes()
    with wave.open(str(spoken)) as recording:
        assert recording.getnframes() / recording.getframerate() == pytest.approx(1.3)  # 26 letters
    assert run.xcom("write_down") == {"text": "Parcel 7 waits."}
    assert run.xcom("write_down_to_a_file")["path"] == str(tmp_path / "text.json")
    assert (tmp_path / "text.json").read_text() == '{"text": "Parcel 7 waits."}'


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"operation": "files.list", "session_input": "text"}, "files.list is no session"),
        ({"operation": "audio.connect_speech", "output_path": "a.wav"}, "Give it session_input: the text to speak"),
        ({"operation": "audio.connect_speech", "session_input": "Hello."}, "Give it an output_path"),
        ({"operation": "audio.connect_speech", "session_input": "Hello.", "output_path": "a.mp3"}, "End output_path"),
        (
            {
                "operation": "realtime.connect",
                "arguments": {"model": "m"},
                "session_input": "/nowhere/a.wav",
            },
            "/nowhere/a.wav cannot be read",
        ),
    ],
)
def test_a_session_without_its_input_fails_before_anything_is_sent(
    given: dict[str, Any], words: str, run_dag: RunDag, emulator: Emulator
) -> None:
    with DAG("no_session", schedule=None) as dag:
        TogetherOperator(task_id="task", retries=2, retry_delay=0, **given)
    run = run_dag(dag)

    assert run.states == {"task": "failed"}
    assert words in run.log
    assert emulator.counts()["requests"] == {}


def test_numbers_and_truth_values_that_a_template_renders_are_taken_for_what_they_are(
    run_dag: RunDag, emulator: Emulator
) -> None:
    arguments = {
        "model": MODEL,
        "messages": QUESTION,
        "max_tokens": "{{ params.n }}",
        "temperature": "{{ params.temperature }}",
        "echo": "{{ params.echo }}",
    }
    params = {"question": "Good morning?", "n": 3, "temperature": 0.5, "echo": False}
    with DAG("rendered", schedule=None, params=params) as dag:
        TogetherOperator(task_id="ask", operation="chat.create", arguments=arguments)
    run = run_dag(dag)

    assert run.state == "success", run.log
    assert run.xcom("ask")["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("native", [False, True])
def test_a_list_needs_native_rendering_and_the_error_without_it_says_so(
    native: bool, run_dag: RunDag, emulator: Emulator
) -> None:
    params = {"messages": [{"role": "user", "content": "Good morning?"}], "model": MODEL}
    arguments = {"model": "{{ params.model }}", "messages": "{{ params.messages }}"}
    with DAG("lists", schedule=None, params=params, render_template_as_native_obj=native) as dag:
        TogetherOperator(task_id="ask", operation="chat.create", arguments=arguments)
    run = run_dag(dag)

    assert run.state == ("success" if native else "failed"), run.log
    assert native or "messages must be a list (got str)" in run.log
    assert native or "render_template_as_native_obj=True" in run.log
