"""Answers are read leniently: what matters is required, and no surprise in a detail breaks a pipeline."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from together_flows.api import (
    batches,
    chat,
    compute,
    deployments,
    endpoints,
    evaluation,
    files,
    fine_tunes,
    images,
    jobs,
    queue,
    rl,
    tci,
    videos,
)
from together_flows.errors import AnswerInvalid

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)

READ = [
    (files.retrieve("f"), {"id"}),
    (batches.retrieve("b"), {"id", "status"}),
    (fine_tunes.retrieve("f"), {"id", "status"}),
    (evaluation.retrieve("e"), {"workflow_id", "status"}),
    (endpoints.retrieve("e"), {"id", "state"}),
    (deployments.retrieve("d"), {"id", "status"}),
    (rl.retrieve_session("s"), {"id", "status"}),
    (jobs.retrieve("j"), {"job_id", "status"}),
    (videos.retrieve("v"), {"id", "status"}),
    (queue.status(model="m", request_id="r"), {"request_id", "status"}),
    (compute.retrieve_cluster("c"), {"cluster_id", "status"}),
    (compute.retrieve_volume("v"), {"volume_id", "status"}),
    (rl.retrieve_forward_backward("s", "o"), {"id", "status"}),
    (rl.retrieve_optim_step("s", "o"), {"id", "status"}),
    (rl.retrieve_sample("s", "o"), {"id", "status"}),
    (rl.retrieve_inference_checkpoint("s", "o"), {"id", "status"}),
    (rl.retrieve_training_checkpoint("s", "o"), {"id", "status"}),
]


@pytest.mark.parametrize(("operation", "needed"), READ, ids=lambda value: getattr(value, "name", ""))
@given(data=st.data())
def test_whatever_a_detail_holds_the_answer_parses_and_loses_nothing(operation: Any, needed: set[str], data: Any):
    names = [field.alias or name for name, field in operation.answer.model_fields.items()]
    details = data.draw(st.dictionaries(st.sampled_from(names) | st.text(max_size=8), JSON, max_size=6))
    given_ = {**details, **{key: data.draw(st.text(max_size=12)) for key in needed}}

    answer = operation.parse(given_)

    for key in needed:
        assert getattr(answer, key) == given_[key]
    sent = {key for key, value in given_.items() if value is not None}
    assert sent - answer.model_dump(by_alias=True, warnings=False).keys() == set()


def test_an_unknown_status_is_kept_as_it_came():
    assert fine_tunes.retrieve("f").parse({"id": "ft-1", "status": "Meditating"}).status == "Meditating"


def test_unknown_fields_are_kept():
    batch = batches.retrieve("b").parse({"id": "b", "status": "COMPLETED", "discount": 0.5})
    assert batch.discount == 0.5
    assert batch.model_extra == {"discount": 0.5}


def test_a_field_of_another_type_is_kept_as_it_came_and_null_counts_as_absent():
    job = fine_tunes.retrieve("f").parse(
        {"id": "ft-1", "status": "running", "n_epochs": "many", "suffix": None, "events": None, "progress": [1]}
    )
    assert job.n_epochs == "many"
    assert job.suffix is None
    assert job.events == ()
    assert job.progress == [1]


def test_a_surprise_deep_inside_stays_there():
    job = fine_tunes.retrieve("f").parse(
        {
            "id": "ft-1",
            "status": "running",
            "events": [{"type": "job_start", "step": "first"}, {"type": "job_complete"}],
        }
    )
    assert [event.type for event in job.events] == ["job_start", "job_complete"]
    assert job.events[0].step == "first"


@pytest.mark.parametrize(
    "answer", [{}, {"id": "ft-1"}, {"id": None, "status": "x"}, {"id": "x", "status": 5}, None, [], ""]
)
def test_an_answer_without_id_or_status_is_refused(answer: Any):
    with pytest.raises(AnswerInvalid, match=r"fine_tunes\.retrieve: the answer is not what the API promises"):
        fine_tunes.retrieve("f").parse(answer)


def test_an_empty_list_may_arrive_as_null_under_its_key_but_not_as_nothing_at_all():
    assert fine_tunes.list().parse({"data": None}).data == []
    assert batches.list().parse([]) == []
    assert deployments.list().parse({"object": "list"}).data == ()
    for operation, answer in [
        (fine_tunes.list(), {}),
        (fine_tunes.list(), None),
        (files.list(), {"error": "busy"}),
        (batches.list(), {}),
        (batches.list(), None),
    ]:
        with pytest.raises(AnswerInvalid):
            operation.parse(answer)


def test_capitalised_keys_have_plain_names():
    file = files.retrieve("f").parse({"id": "file-1", "Processed": True, "FileType": "jsonl", "purpose": "eval"})
    assert (file.processed, file.file_type) == (True, "jsonl")
    assert file.model_dump(by_alias=True)["Processed"] is True
    job = jobs.retrieve("j").parse(
        {"job_id": "j", "status": "Complete", "args": {"modelName": "m", "modelSource": "s"}}
    )
    assert (job.args.model_name, job.args.model_source) == ("m", "s")
    assert queue.submit(model="m", payload={}).parse({"requestId": "r-1"}).request_id == "r-1"


def test_times_have_a_zone_however_they_are_written():
    def created(value: Any) -> Any:
        return endpoints.retrieve("e").parse({"id": "e", "state": "STARTED", "created_at": value}).created_at

    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert created("2026-01-31T12:00:00Z") == created("2026-01-31 12:00:00.000000+00:00") == noon
    assert created("2026-01-31T12:00:00") == created(int(noon.timestamp())) == noon
    assert created("") is None
    assert created("yesterday") == "yesterday"


def test_long_integers_may_arrive_as_text():
    session = rl.retrieve_session("s").parse(
        {"id": "s", "status": "TRAINING_SESSION_STATUS_RUNNING", "step": "184467440737"}
    )
    assert session.step == 184467440737
    assert batches.retrieve("b").parse({"id": "b", "status": "X", "file_size_bytes": "42"}).file_size_bytes == 42


def test_a_new_batch_comes_with_its_warning():
    created = batches.create(endpoint="/v1/chat/completions", input_file_id="f").parse(
        {"job": {"id": "b", "status": "VALIDATING"}, "warning": "slow"}
    )
    assert (created.job.id, created.warning) == ("b", "slow")


def test_the_price_of_a_job_is_told_in_dollars():
    job = fine_tunes.retrieve("f").parse({"id": "ft-1", "status": "completed", "total_price": 4_000_000_000})
    assert job.price == 4.0
    assert fine_tunes.retrieve("f").parse({"id": "ft-1", "status": "pending"}).price is None


@pytest.mark.parametrize(
    ("results", "kind"),
    [
        ({"label_counts": '{"good": 3}', "pass_percentage": 75.0}, evaluation.ClassifyResults),
        ({"label_counts": {"good": 3}}, evaluation.ClassifyResults),
        ({"aggregated_scores": {"mean_score": 4.5}}, evaluation.ScoreResults),
        ({"A_wins": 3, "B_wins": 1, "Ties": 0}, evaluation.CompareResults),
        ({"error": "a column is missing"}, evaluation.Failure),
        ({"something": "new"}, dict),
        (None, type(None)),
    ],
)
def test_the_results_of_an_evaluation_are_told_apart_by_what_they_hold(results: Any, kind: type):
    parsed = evaluation.status("e").parse({"status": "completed", "results": results}).results
    assert type(parsed) is kind
    if kind is evaluation.ClassifyResults:
        assert parsed.label_counts == {"good": 3}
    if kind is evaluation.CompareResults:
        assert (parsed.a_wins, parsed.b_wins, parsed.ties) == (3, 1, 0)


def test_code_that_failed_is_an_answer_and_no_error():
    assert tci.execute(code="1/0").parse({"data": None, "errors": ["boom"]}).errors == ["boom"]
    done = tci.execute(code="1").parse(
        {"errors": None, "data": {"session_id": "s", "status": "success", "outputs": [{"type": "stdout", "data": "1"}]}}
    )
    assert (done.data.session_id, done.data.outputs[0].data, done.errors) == ("s", "1", ())


def test_a_repr_shows_what_came_and_no_more():
    assert repr(batches.retrieve("b").parse({"id": "b", "status": "COMPLETED", "new": 1})) == (
        "Batch(id='b', status='COMPLETED', new=1)"
    )
    image = images.generate(prompt="p", model="m").parse({"data": [{"b64_json": "A" * 10000}]})
    assert len(repr(image)) < 100


def test_answers_survive_pickling_with_their_surprises():
    job = fine_tunes.retrieve("f").parse({"id": "ft-1", "status": "running", "n_epochs": "many", "new": [1]})
    again = pickle.loads(pickle.dumps(job))
    assert again == job
    assert (again.n_epochs, again.new) == ("many", [1])


def test_a_streamed_answer_may_lack_almost_everything():
    made = chat.create(messages=[], model="m")
    chunk = made.chunk.model_validate(
        {"id": "c", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": ""}]}
    )
    assert chunk.choices[0].delta.content == "Hi"
    last = made.chunk.model_validate({"choices": [], "usage": {"total_tokens": 7}})
    assert last.usage.total_tokens == 7
