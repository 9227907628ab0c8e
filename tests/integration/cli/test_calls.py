"""`together-flows operations` and `call`: the whole API from a shell."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from together_flows.api import OPERATIONS
from together_flows.emulator import Emulator
from together_flows.emulator.sound import wav

from .conftest import run_command


def test_every_operation_is_listed_whole_in_a_line_when_piped() -> None:
    lines = run_command("operations").out.splitlines()

    assert [line.split()[0] for line in lines] == list(OPERATIONS)
    for line, entry in zip(lines, OPERATIONS.values(), strict=True):
        assert f"{entry.method} {entry.path} " in line
        assert line.endswith(entry.summary)


def test_no_name_or_path_is_cut_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from together_flows.cli.calls import list_operations

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    list_operations("", as_json=False)
    lines = capsys.readouterr().out.splitlines()

    assert [line for line in lines if not line.startswith(" ")] == list(OPERATIONS)
    requests = {f"    {entry.method} {entry.path}" for entry in OPERATIONS.values()}
    assert requests <= set(lines)
    assert all(len(line) <= 40 for line in lines if line not in requests)


def test_a_group_is_listed_alone_and_as_json() -> None:
    listed = run_command("operations", "batches", "--json").json

    assert [entry["name"] for entry in listed] == [name for name in OPERATIONS if name.startswith("batches.")]
    assert listed[1]["parameters"]["input_file_id"]["required"] is True


def test_an_operation_is_explained_with_what_it_takes() -> None:
    said = run_command("operations", "fine_tunes.create")

    assert said.out.startswith("fine_tunes.create  POST /v1/fine-tunes")
    assert "training_file: str (required)" in said.out
    assert "n_epochs:" in said.out


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        (("operations", "file"), "Did you mean files"),
        (("operations", "fine_tunes.creat"), "fine_tunes.create"),
        (("call", "fine-tunes.list"), "fine_tunes.list"),
        (("call", "files"), "files.list"),
        (("call", "chat.completions"), "completions.create"),
    ],
)
def test_a_misspelled_name_is_answered_with_close_ones(wrong: tuple[str, ...], meant: str) -> None:
    said = run_command(*wrong)

    assert said.code == 1
    assert said.out == ""
    assert meant in said.err


def test_an_answer_is_printed_as_the_api_sent_it(emulator: Emulator) -> None:
    said = run_command("call", "models.list")

    assert said.code == 0
    assert {"id", "type"} <= said.json[0].keys()
    assert said.err == ""


@pytest.mark.parametrize("source", ["text", "file", "stdin"])
def test_arguments_come_as_text_from_a_file_or_from_standard_input(emulator: Emulator, source: str) -> None:
    arguments = json.dumps({"model": "Qwen/Qwen3-8B", "messages": [{"role": "user", "content": "Good morning?"}]})
    Path("arguments.json").write_text(arguments)
    given = {"text": arguments, "file": "@arguments.json", "stdin": "-"}[source]

    said = run_command("call", "chat.create", given, stdin=arguments)

    assert said.json["choices"][0]["message"]["content"]


def test_a_stream_is_one_line_of_json_for_each_event(emulator: Emulator) -> None:
    arguments = {"model": "Qwen/Qwen3-8B", "messages": [{"role": "user", "content": "Good morning?"}]}

    said = run_command("call", "chat.create", json.dumps(arguments), "--stream")

    events = [json.loads(line) for line in said.out.splitlines()]
    assert len(events) > 1
    assert all(event["object"] == "chat.completion.chunk" for event in events)


def test_a_file_is_sent_and_fetched_by_its_path(emulator: Emulator) -> None:
    Path("train.jsonl").write_text('{"text": "One."}\n')
    arguments = {"file": "@train.jsonl", "file_name": "train.jsonl", "purpose": "fine-tune"}

    sent = run_command("call", "files.upload", json.dumps(arguments))
    fetched = run_command("call", "files.content", json.dumps({"id": sent.json["id"]}), "--output", "copy.jsonl")

    assert fetched.json == {"path": "copy.jsonl"}
    assert Path("copy.jsonl").read_bytes() == Path("train.jsonl").read_bytes()


def test_a_session_is_held_from_its_beginning_to_its_end(emulator: Emulator) -> None:
    Path("heard.wav").write_bytes(wav("Parcel 7 waits.", rate=16_000, encoding="pcm_s16le"))
    voice = json.dumps({"voice": "af_alloy"})
    whole = ("--session-input", "Good morning.")
    pieces = ("--session-input", "Good ", "--session-input", "morning.")

    spoken = run_command("call", "audio.connect_speech", voice, *whole, "--output", "whole.wav")
    run_command("call", "audio.connect_speech", voice, *pieces, "--output", "pieces.wav")
    model = json.dumps({"model": "openai/whisper-large-v3"})
    written = run_command("call", "realtime.connect", model, "--session-input", "heard.wav")

    assert spoken.json == {"path": "whole.wav", "bytes": Path("whole.wav").stat().st_size}
    assert Path("pieces.wav").read_bytes() == Path("whole.wav").read_bytes()
    assert written.json == {"text": "Parcel 7 waits."}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("call", "files.list", "{x"), "no JSON"),
        (("call", "files.list", "[1]"), "no JSON object"),
        (("call", "files.list", "@missing.json"), "missing.json cannot be read"),
        (("call", "files.retrieve"), "id is required"),
        (("call", "files.upload", '{"file": "@gone.jsonl", "file_name": "a.jsonl", "purpose": "eval"}'), "gone.jsonl"),
        (("call", "files.content", '{"id": "file-1"}'), "--output"),
        (("call", "files.list", "--output", "x"), "answers with JSON"),
        (("call", "files.list", "--stream"), "does not stream"),
        (("call", "realtime.connect", '{"model": "m"}'), "session_input"),
        (("call", "realtime.connect", '{"model": "m"}', "--session-input", "gone.wav"), "gone.wav cannot be read"),
        (("call", "audio.connect_speech", "--session-input", "Hello."), "Say where it goes"),
        (("call", "audio.connect_speech", "--output", "a.wav"), "session_input"),
        (("call", "audio.connect_speech", "--session-input", "Hello.", "--stream"), "does not stream"),
        (("call", "files.list", "--session-input", "Hello."), "files.list is no session"),
    ],
)
def test_what_cannot_be_sent_is_refused_in_a_sentence_before_anything_is_sent(
    emulator: Emulator, command: tuple[str, ...], words: str
) -> None:
    said = run_command(*command)

    assert said.code == 1
    assert said.out == ""
    assert words in said.err
    assert "Traceback" not in said.err
    assert emulator.counts()["requests"] == {}


def test_a_wrong_key_a_missing_key_and_a_missing_server_are_told_apart(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TOGETHER_API_KEY", "wrong")
        wrong = run_command("call", "files.list")
    with monkeypatch.context() as patch:
        patch.delenv("TOGETHER_API_KEY")
        missing = run_command("call", "files.list")
    with monkeypatch.context() as patch:
        patch.setenv("TOGETHER_BASE_URL", "http://127.0.0.1:1/v1")
        nobody = run_command("call", "files.list")

    assert {wrong.code, missing.code, nobody.code} == {1}
    assert "AuthenticationFailed" in wrong.err
    assert "TOGETHER_API_KEY" in missing.err
    assert "ConnectionFailed" in nobody.err
    assert "TOGETHER_BASE_URL" in nobody.err
    assert wrong.out == missing.out == nobody.out == ""
