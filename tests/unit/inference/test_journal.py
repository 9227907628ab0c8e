"""The journal: what survives, and what does not count."""

from __future__ import annotations

import uuid
from pathlib import Path

import msgspec
import pytest

from together_flows.errors import TogetherError
from together_flows.inference.journal import Entry, Journal, JournalStore
from together_flows.inference.merging import write_output
from together_flows.inference.places import Place, place_of
from together_flows.jobs import JobRecord


def entry(index: int, *, digest: int = 0, succeeded: bool = True, final: bool = False, text: str = "") -> Entry:
    output = msgspec.Raw(msgspec.json.encode({"index": index, "text": text}))
    return Entry(
        index=index, digest=digest or index + 100, succeeded=succeeded, final=final, prompt_tokens=2, output=output
    )


@pytest.fixture(params=["local", "remote"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A target on this machine, and one in object storage."""
    if request.param == "local":
        return place_of(str(tmp_path / "out.jsonl"))
    return place_of(f"memory://{uuid.uuid4().hex}/out.jsonl")


def read(place: Place) -> list[dict[str, object]]:
    with place.open() as stream:
        return [msgspec.json.decode(line) for line in stream.read().splitlines()]


def test_what_was_written_counts_in_the_next_process(target: Place) -> None:
    with Journal(target) as journal:
        journal.add(entry(4))
        journal.add(entry(1, succeeded=False))
        journal.add(entry(2, succeeded=False, final=True))
    with Journal(target) as journal:
        assert [journal.settles(index, index + 100) for index in range(6)] == [False, False, True, False, True, False]
        assert [found.index for found in journal.entries()] == [1, 2, 4]


def test_an_entry_counts_only_for_the_request_it_was_made_for(target: Place) -> None:
    with Journal(target) as journal:
        journal.add(entry(0, digest=7))
        assert journal.settles(0, 7)
        assert not journal.settles(0, 8)


def test_the_last_word_about_a_row_counts(target: Place) -> None:
    with Journal(target) as journal:
        journal.add(entry(0, succeeded=False))
        journal.add(entry(0, text="better"))
    with Journal(target) as journal:
        tally = write_output(journal, 1, target)
    assert (tally.succeeded, tally.failed, tally.prompt_tokens) == (1, 0, 2)
    assert read(target) == [{"index": 0, "text": "better"}]


def test_the_output_is_in_the_order_of_the_rows_whatever_came_first(target: Place) -> None:
    with Journal(target) as journal:
        for index in (3, 0, 2, 1):
            journal.add(entry(index, text="x" * 10_000 * index))
        write_output(journal, 4, target)
    assert [line["index"] for line in read(target)] == [0, 1, 2, 3]


def test_an_output_that_would_miss_a_row_is_not_written(target: Place) -> None:
    with Journal(target) as journal:
        journal.add(entry(1))
        with pytest.raises(TogetherError, match="Row 0"):
            write_output(journal, 2, target)
    assert not target.exists()


def test_nothing_is_left_of_a_journal_that_was_removed(target: Place) -> None:
    with Journal(target) as journal:
        journal.add(entry(0))
        journal.keep_safe()
        journal.remove()
    assert not target.sibling(f".{target.name}.part").exists()
    with Journal(target) as journal:
        assert not journal.settles(0, 100)


def test_an_empty_journal_leaves_nothing(target: Place) -> None:
    with Journal(target):
        pass
    assert not target.sibling(f".{target.name}.part").exists()


def test_the_record_of_a_job_counts_until_its_row_is_settled(target: Place) -> None:
    record = JobRecord(kind="video", fingerprint="f", marker="m", intent_at=1.0, id="v-1")
    with Journal(target) as journal:
        JournalStore(journal, 0, 7).save("", record)
    with Journal(target) as journal:
        assert JournalStore(journal, 0, 7).load("") == record
        assert JournalStore(journal, 0, 8).load("") is None
        assert not journal.settles(0, 7)
        journal.add(entry(0, digest=7))
        assert JournalStore(journal, 0, 7).load("") is None


def test_a_line_that_was_cut_off_by_a_crash_is_dropped(tmp_path: Path) -> None:
    target = place_of(str(tmp_path / "out.jsonl"))
    with Journal(target) as journal:
        journal.add(entry(0))
        journal.add(entry(1))
    part = tmp_path / ".out.jsonl.part"
    part.write_bytes(part.read_bytes()[:-5])
    with Journal(target) as journal:
        assert journal.settles(0, 100)
        assert not journal.settles(1, 101)
        journal.add(entry(1, text="again"))
    with Journal(target) as journal:
        write_output(journal, 2, target)
    assert read(target)[1] == {"index": 1, "text": "again"}


def test_two_processes_do_not_send_the_same_rows(tmp_path: Path) -> None:
    target = place_of(str(tmp_path / "out.jsonl"))
    with (
        Journal(target) as first,
        pytest.raises(TogetherError, match="Another process") as refused,
        Journal(target),
    ):
        pass
    assert refused.value.retryable
    assert first.entry(0) is None


def test_an_object_that_brings_its_file_system_is_a_place(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")

    class Located:
        fs = fsspec.filesystem("file")
        path = str(tmp_path / "deep" / "out.jsonl")

        def __str__(self) -> str:
            return f"store://somewhere{self.path}"

    place = place_of(Located())
    with place.replacing() as stream:
        stream.write(b"done")
    assert (tmp_path / "deep" / "out.jsonl").read_bytes() == b"done"
    assert str(place.sibling("other")) == f"store://somewhere{tmp_path}/deep/other"


def test_an_answer_whose_media_are_missing_counts_until_they_are_there(target: Place) -> None:
    unfetched = Entry(index=0, digest=7, unfetched={"addresses": ["https://here"]}, cost_usd=0.5)
    with Journal(target) as journal:
        journal.add_unfetched(unfetched)
        journal.add(Entry(index=0, digest=7, output=msgspec.Raw(b"{}"), unfinished=True))
    with Journal(target) as journal:
        assert not journal.settles(0, 7)
        assert journal.unfetched(0, 7) == unfetched
        assert journal.unfetched(0, 8) is None
        journal.add(entry(0, digest=7))
        assert journal.unfetched(0, 7) is None


def test_an_answer_whose_media_are_missing_is_safe_at_once(target: Place) -> None:
    journal = Journal(target).__enter__()
    journal.add_unfetched(Entry(index=0, digest=7, unfetched={"addresses": []}))
    part = target.sibling(f".{target.name}.part")
    kept = part.children() or [part]  # segments in object storage, or the file itself
    with kept[0].open() as stream:
        assert b"unfetched" in stream.read()
    journal.__exit__(None, None, None)


def test_what_was_settled_for_another_intention_counts_unless_all_is_to_be_fresh(target: Place) -> None:
    with Journal(target, owner="one") as journal:
        journal.add(entry(0))
    with Journal(target, owner="two") as journal:
        assert journal.settles(0, 100)
    with Journal(target, owner="two", fresh=True) as journal:
        assert not journal.settles(0, 100)
        journal.add(entry(1))
    with Journal(target, owner="two", fresh=True) as journal:
        assert [journal.settles(index, index + 100) for index in (0, 1)] == [False, True]


def test_a_fresh_start_forgets_jobs_and_paid_answers_too(target: Place) -> None:
    record = JobRecord(kind="video", fingerprint="f", marker="m", intent_at=1.0)
    with Journal(target) as journal:
        journal.add_record(0, 7, record)
        journal.add_unfetched(Entry(index=1, digest=8, unfetched={}))
    with Journal(target, owner="again", fresh=True) as journal:
        assert journal.record(0, 7) is None
        assert journal.unfetched(1, 8) is None


def test_an_intention_alone_leaves_nothing_behind(target: Place) -> None:
    with Journal(target, owner="one"):
        pass
    part = target.sibling(f".{target.name}.part")
    assert not part.exists()


def test_a_segment_that_was_cut_short_spoils_nothing_that_came_after(tmp_path: Path) -> None:
    target = place_of(f"file://{tmp_path}/out.jsonl")
    with Journal(target) as journal:
        journal.add(entry(0))
        journal.add(entry(1))
    [segment] = (tmp_path / ".out.jsonl.part").iterdir()
    segment.write_bytes(segment.read_bytes()[:-5])  # as a store without whole writes leaves it when a process dies
    with Journal(target) as journal:
        assert not journal.settles(1, 101)
        journal.add(entry(1))
    with Journal(target) as journal:
        assert [journal.settles(index, index + 100) for index in (0, 1)] == [True, True]
