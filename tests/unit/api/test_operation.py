"""A declaration becomes data: each argument goes where it belongs, and nothing is sent that was not given."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from together_flows.api import (
    OPERATIONS,
    audio,
    batches,
    chat,
    deployments,
    endpoints,
    files,
    fine_tunes,
    finetune,
    images,
    queue,
    rl,
    videos,
)
from together_flows.api._model import Answer
from together_flows.api._operation import REGISTRY, Place, Reply, Wire, operation
from together_flows.errors import ArgumentInvalid

IDS = st.text(min_size=1).filter(lambda text: text not in {".", ".."} and not _has_surrogate(text))


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


class Thing(Answer):
    id: str


def _check_order(given: Any) -> Iterator[str]:
    if given.low > given.high:
        yield f"low ({given.low}) exceeds high ({given.high})"
    if given.low < 0:
        yield "low is below nothing"


def test_ids_go_into_the_path_and_the_rest_of_a_get_into_the_query():
    made = deployments.logs("mine", replica_id="r-1")
    assert (made.method, made.path, made.query, made.body) == (
        "GET",
        "/deployments/mine/logs",
        {"replica_id": "r-1"},
        None,
    )


def test_the_rest_of_a_post_goes_into_the_body_and_none_is_not_sent():
    made = batches.create(endpoint="/v1/chat/completions", input_file_id="file-1", priority=None)
    assert made.body == {"endpoint": "/v1/chat/completions", "input_file_id": "file-1"}
    assert made.query == {}


def test_a_post_without_parameters_has_no_body_and_one_whose_parameters_are_left_out_has_an_empty_one():
    assert fine_tunes.cancel("ft-1").body is None
    assert rl.optim_step("s-1").body == {}
    assert endpoints.update("endpoint-1").body == {}


def test_false_zero_and_empty_are_given_values():
    made = deployments.update("mine", min_replicas=0, health_check_path="", volumes=[], autoscaling={})
    assert made.body == {"min_replicas": 0, "health_check_path": "", "volumes": [], "autoscaling": {}}


def test_a_header_goes_into_the_headers_and_a_request_that_has_a_key_may_be_repeated():
    plain, keyed = rl.create_training_checkpoint("s-1"), rl.create_training_checkpoint("s-1", idempotency_key="step-7")
    assert (plain.headers, plain.repeatable) == ({}, False)
    assert (keyed.headers, keyed.repeatable, keyed.body) == ({"Idempotency-Key": "step-7"}, True, None)


@pytest.mark.parametrize("key", ["", "two\r\nlines", "é", "x" * 256])
def test_a_header_cannot_be_broken_out_of(key: str):
    with pytest.raises(ArgumentInvalid, match="idempotency_key must match"):
        rl.optim_step("s-1", idempotency_key=key)


def test_a_wire_name_differs_where_it_is_declared_to():
    @operation("POST", "/things")
    def create(
        *, kind: Annotated[str | None, Wire(name="x-kind")] = None, page: Annotated[int, Wire(Place.QUERY)]
    ) -> Thing:
        """Create."""

    made = create(kind="odd", page=2)
    assert (made.body, made.query) == ({"x-kind": "odd"}, {"page": 2})


def test_operations_declared_elsewhere_work_and_do_not_enter_the_table():
    @operation("DELETE", "/things/{thingId}")
    def delete(thing_id: str, /) -> Thing:
        """Delete."""

    assert delete("a/b").path == "/things/a%2Fb"
    assert not [name for name, entry in REGISTRY.items() if entry.path.startswith("/things")]


def test_a_file_may_be_a_path_bytes_or_anything_open_in_binary(tmp_path: Path):
    target = tmp_path / "rows.jsonl"
    target.write_bytes(b"{}")

    def part(file: Any) -> Any:
        return files.upload(file=file, file_name="rows.jsonl", purpose="batch-api").parts["file"]

    assert part(str(target)) == part(target) == target
    assert part(b"{}") == part(bytearray(b"{}")) == b"{}"
    buffer = io.BytesIO(b"{}")
    assert part(buffer) is buffer
    with target.open("rb") as opened:
        assert part(opened) is opened


def test_a_file_open_in_text_is_refused():
    with pytest.raises(ArgumentInvalid, match=r"file must be a path, bytes or a file opened in binary mode"):
        files.upload(file=io.StringIO("{}"), file_name="rows.jsonl", purpose="batch-api")


def test_a_recording_by_its_address_is_a_field_and_by_its_path_a_file():
    linked = audio.create_transcription(file="https://example.com/a.wav")
    assert (linked.body, linked.parts) == ({"file": "https://example.com/a.wav"}, {})
    local = audio.create_transcription(file="a.wav", language="de")
    assert (local.body, local.parts) == ({"language": "de"}, {"file": Path("a.wav")})
    assert linked.form
    assert local.form


@given(IDS, IDS)
def test_no_id_leaves_its_segment_of_the_path(session: str, step: str):
    path = rl.retrieve_optim_step(session, step).path
    segments = path.split("/")
    assert len(segments) == 7
    assert [unquote(segments[3]), unquote(segments[6])] == [session, step]
    assert not {"?", "#", "\\", "\n", " "} & set(path)


@pytest.mark.parametrize("hostile", ["../files", "a/b", "a?b=c", "a#b", "%2e%2e", "{operation_id}", "a;b", "a\nb"])
def test_hostile_ids_are_quoted(hostile: str):
    path = rl.retrieve_sample(hostile, "op-1").path
    assert path.startswith("/rl/training-sessions/")
    assert path.endswith("/operations/sample/op-1")
    assert path.count("/") == 6


@pytest.mark.parametrize("no_id", ["", ".", "..", "\ud800"])
def test_what_cannot_be_an_id_is_refused(no_id: str):
    with pytest.raises(ArgumentInvalid, match=r"fine_tunes\.retrieve: id must be an id"):
        fine_tunes.retrieve(no_id)


def test_an_id_that_was_forgotten_is_not_sent_as_none():
    with pytest.raises(ArgumentInvalid, match=r"fine_tunes\.cancel: id must be a string \(got NoneType\)"):
        fine_tunes.cancel(None)


def test_an_unknown_parameter_names_the_nearest():
    with pytest.raises(ArgumentInvalid, match=r"has no parameter 'epochs'\. Did you mean 'n_epochs'\?"):
        fine_tunes.create(training_file="f", model="m", epochs=3)
    with pytest.raises(ArgumentInvalid, match=r"has no parameter 'zzz'\. It takes id\."):
        batches.retrieve("b", zzz=1)


def test_too_many_positional_arguments_and_one_given_twice_are_refused():
    with pytest.raises(ArgumentInvalid, match="takes only id by position"):
        fine_tunes.retrieve("a", "b")
    with pytest.raises(ArgumentInvalid, match="takes no positional arguments"):
        finetune.download("ft-1")
    with pytest.raises(ArgumentInvalid, match="id was given twice"):
        fine_tunes.retrieve("a", id="b")


def test_ids_can_be_given_by_name_as_generic_callers_do():
    assert (
        OPERATIONS["rl.retrieve_sample"]
        .function(session_id="s", operation_id="o")
        .path.endswith("/s/operations/sample/o")
    )


def test_a_rule_over_several_arguments_tells_everything_that_is_wrong():
    @operation("POST", "/things", check=_check_order)
    def create(*, low: int, high: int) -> Thing:
        """Create."""

    assert create(low=1, high=2).body == {"low": 1, "high": 2}
    with pytest.raises(ArgumentInvalid, match=r"low \(-1\) exceeds high \(-2\); low is below nothing"):
        create(low=-1, high=-2)
    with pytest.raises(ArgumentInvalid, match=r"high must be an integer \(got 'x'\)"):
        create(low=3, high="x")


def test_creations_are_not_repeatable_and_reading_and_cancelling_are():
    assert not fine_tunes.create(training_file="f", model="m").repeatable
    assert not batches.create(endpoint="/v1/chat/completions", input_file_id="f").repeatable
    assert not queue.submit(model="m", payload={}).repeatable
    assert not videos.create(model="m").repeatable
    assert fine_tunes.cancel("ft-1").repeatable
    assert fine_tunes.estimate_price(training_file="f").repeatable
    assert fine_tunes.list().repeatable
    assert endpoints.delete("e").repeatable
    assert chat.create(messages=[], model="m").repeatable
    assert images.generate(prompt="p", model="m").repeatable


def test_only_what_leaves_nothing_behind_or_ends_something_is_repeatable_among_the_posts():
    assert {name for name, entry in OPERATIONS.items() if entry.method == "POST" and entry.repeatable} == {
        "audio.create_speech",
        "audio.create_transcription",
        "audio.create_translation",
        "batches.cancel",
        "chat.create",
        "completions.create",
        "embeddings.create",
        "files.abort_multipart",
        "files.complete_multipart",
        "files.create",
        "files.preprocess",
        "fine_tunes.cancel",
        "fine_tunes.estimate_price",
        "images.generate",
        "queue.cancel",
        "rerank.create",
        "rl.stop_session",
    }


def test_an_operation_cannot_be_changed_and_its_variants_leave_it_alone():
    made = fine_tunes.create(training_file="f", model="m")
    extended = made.extended(early_stopping_enabled=True)
    assert extended.body == {"training_file": "f", "model": "m", "early_stopping_enabled": True}
    assert made.body == {"training_file": "f", "model": "m"}
    assert batches.list().extended(limit=5).query == {"limit": 5}
    assert batches.list().extended(limit=5).body is None
    assert made.untyped().parse({"any": "thing"}) == {"any": "thing"}
    with pytest.raises(FrozenInstanceError):
        made.path = "/elsewhere"


def test_the_arguments_of_the_caller_are_left_as_they_were():
    training = {"type": "Lora", "lora_r": 8}
    fine_tunes.create(training_file="f", model="m", training_type=training)
    assert training == {"type": "Lora", "lora_r": 8}


@pytest.mark.parametrize("made", [batches.list(), fine_tunes.list(), chat.create(messages=[], model="m"), files.list()])
def test_an_operation_survives_pickling(made: Any):
    assert pickle.loads(pickle.dumps(made)) == made


def test_videos_live_under_version_two():
    assert (videos.retrieve("v").version, fine_tunes.retrieve("f").version) == ("v2", "v1")


def test_a_session_answers_with_the_type_of_its_events():
    made = audio.connect_speech(voice="tara")
    assert made.reply is Reply.SOCKET
    assert made.parse({"type": "session.created"}).type == "session.created"


def test_the_summary_is_the_first_paragraph_on_one_line():
    assert OPERATIONS["batches.create"].summary == "Start a batch job. Only rows that succeed are billed."
