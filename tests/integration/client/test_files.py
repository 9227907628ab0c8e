"""Uploads and downloads, in both clients, over a network that cuts them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.client.scripted import Asked, Reply, Scripted, scripted
from together_flows import AsyncTogether, Together
from together_flows.api import files
from together_flows.api.files import File
from together_flows.client._async import PARALLEL_TRANSFERS
from together_flows.client._transfer import Transfer
from together_flows.client._upload import Source, Uploader
from together_flows.emulator import Emulator
from together_flows.errors import (
    ArgumentInvalid,
    BadRequest,
    ConnectionFailed,
    NotFound,
    PermissionDenied,
    ServerFailed,
    TransferIncomplete,
)
from together_flows.jobs import kind_named, run
from together_flows.jobs.waiting import Done, WaitPolicy, waiting

both = pytest.mark.parametrize("way", ["sync", "async"])

Progress = list[tuple[int, int]]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """About three megabytes of rows."""
    path = tmp_path / "rows.jsonl"
    line = json.dumps({"messages": [{"role": "user", "content": "x" * 90}, {"role": "assistant", "content": "y" * 90}]})
    path.write_text("\n".join([line] * 12_000) + "\n")
    return path


def done(way: str, url: str, work: Callable[[Any], Any], **settings: Any) -> Any:
    """What the work on a client results in. Sync work returns it, async work returns what is to be awaited."""
    settings.update({"api_key": "emulator-key", "base_url": url, "timeout": 20})
    if way == "sync":
        with Together(**settings) as client:
            return work(client)

    async def main() -> Any:
        async with AsyncTogether(**settings) as client:
            return await work(client)

    return asyncio.run(main())


# Uploads


@both
def test_a_file_arrives_whole_and_its_progress_is_told(way: str, emulator: Emulator, rows: Path) -> None:
    told: Progress = []
    file = done(
        way,
        emulator.url,
        lambda client: client.upload(rows, purpose="fine-tune", on_progress=lambda *now: told.append(now)),
    )

    assert isinstance(file, File)
    assert file.bytes == rows.stat().st_size
    assert file.filename == "rows.jsonl"
    assert told[-1] == (file.bytes, file.bytes)
    back = done(way, emulator.url, lambda client: client.send(files.content(file.id)))
    assert back == rows.read_bytes()


@both
def test_content_that_the_api_has_is_not_sent_again(way: str, emulator: Emulator, rows: Path) -> None:
    first = done(way, emulator.url, lambda client: client.upload(rows, purpose="fine-tune"))
    emulator.fault(method="PUT", path="*", status=500, times=None)
    again = done(way, emulator.url, lambda client: client.upload(rows, purpose="fine-tune", file_name="other.jsonl"))

    assert again.id == first.id


@both
def test_an_upload_that_died_before_its_check_is_checked_by_the_next(way: str, emulator: Emulator, rows: Path) -> None:
    emulator.fault(method="POST", path="/files/{id}/preprocess", status=400, effect=False)
    with pytest.raises(BadRequest):  # stands for a process that was killed when the bytes had arrived
        done(way, emulator.url, lambda client: client.upload(rows, purpose="fine-tune"))
    [left] = emulator.jobs("file")

    again = done(way, emulator.url, lambda client: client.upload(rows, purpose="fine-tune"))

    assert again.id == left["id"]
    checked = WaitPolicy(deadline=time.time() + 60, interval=0.2, first=0.05)
    with Together(api_key="emulator-key", base_url=emulator.url) as client:
        assert isinstance(run(waiting(kind_named("file"), again.id, checked), client=client), Done)


def test_the_same_content_for_another_purpose_is_another_file(emulator: Emulator, client: Together, rows: Path) -> None:
    first = client.upload(rows, purpose="fine-tune")

    assert client.upload(rows, purpose="eval").id != first.id


@both
@pytest.mark.parametrize("fault", [{"drop": "before"}, {"drop": "after"}, {"status": 503}, {"status": 500}], ids=str)
@pytest.mark.parametrize("step", ["/files", "/files/{id}/preprocess"])
def test_an_upload_survives_a_fault_at_each_step(
    way: str, step: str, fault: dict[str, Any], emulator: Emulator, rows: Path
) -> None:
    emulator.fault(method="POST", path=step, times=2, **fault)
    file = done(way, emulator.url, lambda client: client.upload(rows, purpose="fine-tune"))

    assert file.bytes == rows.stat().st_size
    assert emulator.faults()[0]["hits"] == 2


def an_api(answer_put: Callable[[Asked], Reply], **more: Reply) -> Callable[[Asked], Reply]:
    """An API of files whose storage answers so."""

    def answer(asked: Asked) -> Reply:
        if asked.method == "PUT":
            return answer_put(asked)
        if asked.path.endswith("/preprocess"):
            return Reply(body=b'{"id": "file-1", "bytes": 7}')
        if asked.path in more:
            return more[asked.path]
        return Reply(302, headers={"Location": "/put/1?sig=s1gnature", "X-Together-File-Id": "file-1"})

    return answer


@both
def test_the_bytes_go_to_storage_without_key_or_own_headers(way: str, rows: Path) -> None:
    with scripted(an_api(lambda asked: Reply())) as server:
        done(
            way,
            server.url,
            lambda client: client.upload(rows, purpose="fine-tune"),
            headers={"X-Internal-Token": "t0ken-1"},
        )

    (put,) = [asked for asked in server.asked if asked.method == "PUT"]
    assert put.body == rows.read_bytes()
    assert put.headers["content-length"] == str(rows.stat().st_size)
    assert "transfer-encoding" not in put.headers
    assert "emulator-key" not in str(put.headers)
    assert "t0ken-1" not in str(put.headers)


def test_the_checksum_is_that_of_the_content_and_a_given_one_is_taken(rows: Path) -> None:
    with scripted(an_api(lambda asked: Reply())) as server:
        done("sync", server.url, lambda client: client.upload(rows, purpose="fine-tune"))
        done("sync", server.url, lambda client: client.upload(rows, purpose="fine-tune", checksum="a" * 64))

    first, second = [asked.body for asked in server.asked if asked.path == "/v1/files"]
    assert hashlib.sha256(rows.read_bytes()).hexdigest().encode() in first
    assert b"a" * 64 in second


@both
def test_the_bytes_are_sent_anew_after_a_fault(way: str, rows: Path) -> None:
    replies = [Reply(drop=True), Reply(500), Reply(503), Reply()]
    with scripted(an_api(lambda asked: replies.pop(0))) as server:
        done(way, server.url, lambda client: client.upload(rows, purpose="fine-tune"))

    puts = [asked.body for asked in server.asked if asked.method == "PUT"]
    assert puts == [rows.read_bytes()] * 4


@both
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_bytes_follow_where_storage_sends_them(way: str, status: int, rows: Path) -> None:
    with (
        scripted(lambda asked: Reply()) as region,
        scripted(an_api(lambda asked: Reply(status, headers={"Location": f"{region.url}/there"}))) as server,
    ):
        done(way, server.url, lambda client: client.upload(rows, purpose="fine-tune"))

    assert [(asked.method, asked.path, asked.body) for asked in region.asked] == [("PUT", "/there", rows.read_bytes())]


@both
def test_a_refusal_of_the_storage_shows_no_signature(way: str, rows: Path) -> None:
    reason = b"<Code>AccessDenied</Code><Message>Request has expired</Message>"
    body = b"<Error>" + reason + b"<StringToSign>s1gn</StringToSign></Error>"
    with (
        scripted(an_api(lambda asked: Reply(403, body))) as server,
        pytest.raises(TransferIncomplete, match="Request has expired") as refused,
    ):
        done(way, server.url, lambda client: client.upload(rows, purpose="fine-tune"))

    cause = refused.value.__cause__
    assert isinstance(cause, PermissionDenied)
    assert "s1gn" not in f"{refused.value} {cause} {cause.body}"


def test_an_unreachable_storage_is_told_without_its_address(rows: Path) -> None:
    def answer(asked: Asked) -> Reply:
        return Reply(302, headers={"Location": "http://127.0.0.1:9/put?sig=s1gnature", "X-Together-File-Id": "file-1"})

    with scripted(answer) as server, pytest.raises(ConnectionFailed) as failed:
        done("sync", server.url, lambda client: client.upload(rows, purpose="fine-tune"))

    assert "s1gnature" not in str(failed.value)


def test_a_file_that_grows_while_it_is_sent_is_not_taken_for_uploaded(rows: Path) -> None:
    def grow(asked: Asked) -> Reply:
        with rows.open("a") as file:
            file.write("more\n")
        return Reply()

    with scripted(an_api(grow)) as server, pytest.raises(TransferIncomplete, match="changed"):
        done("sync", server.url, lambda client: client.upload(rows, purpose="fine-tune"))

    assert not [asked for asked in server.asked if "preprocess" in asked.path]


def test_a_file_that_shrinks_while_it_is_sent_is_not_taken_for_uploaded(rows: Path) -> None:
    def shrink(done: int, total: int) -> None:
        os.truncate(rows, 10)

    with scripted(an_api(lambda asked: Reply())) as server, pytest.raises(TransferIncomplete, match="changed"):
        done("sync", server.url, lambda client: client.upload(rows, purpose="fine-tune", on_progress=shrink))


@pytest.mark.parametrize(
    "existing",
    [
        {"id": "file-0", "bytes": 3, "purpose": "fine-tune"},
        {"id": "file-0", "purpose": "eval"},
        {"id": "file-0", "purpose": "fine-tune", "processing_status": "INVALID_FORMAT"},
        {"id": "file-0", "purpose": "fine-tune", "processing_status": "PENDING"},
    ],
    ids=["partly there", "other purpose", "unusable", "without bytes"],
)
def test_an_existing_file_that_will_not_do_is_not_taken_for_this_one(existing: dict[str, Any], rows: Path) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.method == "GET":
            return Reply(body=json.dumps(existing).encode())
        if asked.path == "/v1/files" and b"checksum" in asked.body:
            return Reply(409, b'{"file_id": "file-0"}')
        if asked.path == "/v1/files/file-0/preprocess":
            return Reply(400, b'{"error": {"message": "Nothing was uploaded."}}')
        return an_api(lambda asked: Reply())(asked)

    with scripted(answer) as server:
        file = done("sync", server.url, lambda client: client.upload(rows, purpose="fine-tune"))

    assert file.id == "file-1"
    assert [asked.body for asked in server.asked if asked.method == "PUT"] == [rows.read_bytes()]


@both
def test_wrong_files_are_refused_before_anything_is_sent(way: str, tmp_path: Path) -> None:
    with scripted(lambda asked: Reply()) as server, pytest.raises(ArgumentInvalid):
        done(way, server.url, lambda client: client.upload(tmp_path / "none.jsonl", purpose="eval"))

    assert server.asked == []


# Uploads in parts


def in_parts(client: Together, rows: Path, told: Progress | None = None, **limits: Any) -> File:
    """Upload as files above 5 GiB are, only with smaller numbers."""
    uploader = Uploader(client.send, client._storage, single_put_limit=1000, part_size=500_000, **limits)
    source = Source.of(rows)
    report = (lambda *now: told.append(now)) if told is not None else None
    return uploader.upload(
        source, purpose="fine-tune", checksum=None, transfer=Transfer(source.size, on_progress=report)
    )


def test_a_large_file_goes_in_parts_and_arrives_whole(emulator: Emulator, client: Together, rows: Path) -> None:
    told: Progress = []
    file = in_parts(client, rows, told)

    assert client.send(files.content(file.id)) == rows.read_bytes()
    assert told[-1] == (rows.stat().st_size, rows.stat().st_size)
    assert emulator.counts()["requests"]
    assert in_parts(client, rows).id == file.id


def parts_api(server: Callable[[], Scripted], put: Callable[[Asked], Reply], count: int) -> Callable[[Asked], Reply]:
    def answer(asked: Asked) -> Reply:
        if asked.method == "PUT":
            return put(asked)
        if asked.path.endswith("/initiate"):
            parts = [
                {"PartNumber": n, "URL": f"{server().url}/part/{n}", "Headers": {"X-Part": str(n)}}
                for n in range(count, 0, -1)
            ]
            return Reply(body=json.dumps({"upload_id": "u", "file_id": "file-1", "parts": parts}).encode())
        if asked.path.endswith("/complete"):
            return Reply(body=b'{"file": {"id": "file-1"}}')
        return Reply(body=b"{}")

    return answer


def test_each_part_is_sent_anew_after_a_fault_and_joined_in_order(rows: Path) -> None:
    failed: set[str] = set()

    def put(asked: Asked) -> Reply:
        if asked.path not in failed:
            failed.add(asked.path)
            return Reply(drop=True)
        return Reply(headers={"ETag": f'"tag-{asked.path[-1]}"'})

    count = -(-rows.stat().st_size // 500_000)
    with scripted(parts_api(lambda: server, put, count)) as server:
        file = done("sync", server.url, lambda client: in_parts(client, rows))

    assert file.id == "file-1"
    (complete,) = [json.loads(asked.body) for asked in server.asked if asked.path.endswith("/complete")]
    assert complete["parts"] == [{"part_number": n, "etag": f"tag-{n}"} for n in range(1, count + 1)]
    sent = {asked.path: asked for asked in server.asked if asked.method == "PUT"}
    assert b"".join(sent[f"/part/{n}"].body for n in range(1, count + 1)) == rows.read_bytes()
    assert all(asked.headers["x-part"] == path.rpartition("/")[2] for path, asked in sent.items())


@pytest.mark.parametrize("reply", [Reply(400), Reply()], ids=["refused", "no etag"])
def test_an_upload_in_parts_that_fails_is_given_up_on_the_server_too(reply: Reply, rows: Path) -> None:
    count = -(-rows.stat().st_size // 500_000)
    with (
        scripted(parts_api(lambda: server, lambda asked: reply, count)) as server,
        pytest.raises(Exception, match="storage"),
    ):
        done("sync", server.url, lambda client: in_parts(client, rows))

    assert [asked.path for asked in server.asked if "abort" in asked.path] == ["/v1/files/multipart/abort"]
    assert not [asked for asked in server.asked if "complete" in asked.path]


def test_a_file_that_changes_while_its_parts_are_sent_is_not_taken_for_uploaded(rows: Path) -> None:
    def touch(asked: Asked) -> Reply:
        os.utime(rows)
        return Reply(headers={"ETag": '"tag"'})

    count = -(-rows.stat().st_size // 500_000)
    with (
        scripted(parts_api(lambda: server, touch, count)) as server,
        pytest.raises(TransferIncomplete, match="changed"),
    ):
        done("sync", server.url, lambda client: in_parts(client, rows))

    assert not [asked for asked in server.asked if "complete" in asked.path]


def test_parts_that_do_not_cover_the_file_are_refused(rows: Path) -> None:
    with (
        scripted(parts_api(lambda: server, lambda asked: Reply(), 2)) as server,
        pytest.raises(Exception, match="address for each part"),
    ):
        done("sync", server.url, lambda client: in_parts(client, rows))

    assert not [asked for asked in server.asked if asked.method == "PUT"]


# Downloads

CONTENT = os.urandom(700_000)


def a_storage(cuts: list[int], *, ranges: bool = True, etag: str = '"v1"') -> Callable[[Asked], Reply]:
    """Serves `CONTENT`; each number in `cuts` cuts one answer after so many bytes."""

    def answer(asked: Asked) -> Reply:
        cut = cuts.pop(0) if cuts else None
        wanted = asked.headers.get("range", "")
        if wanted and ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            headers = {"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}", "ETag": etag}
            return Reply(206, CONTENT[start:], headers, cut=cut)
        return Reply(200, CONTENT, {"ETag": etag}, cut=cut)

    return answer


@both
def test_a_download_arrives_whole_and_leaves_nothing_else(way: str, tmp_path: Path) -> None:
    told: Progress = []
    with scripted(a_storage([])) as server:
        path = done(
            way,
            server.url,
            lambda client: client.download(
                files.content("file-1"), tmp_path / "out.jsonl", on_progress=lambda *now: told.append(now)
            ),
        )

    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [tmp_path / "out.jsonl"]
    assert told[-1] == (len(CONTENT), len(CONTENT))


@both
def test_a_download_goes_on_where_it_was_cut(way: str, tmp_path: Path) -> None:
    # More cuts than attempts: what brings bytes does not count as a failure.
    with scripted(a_storage([100_000] * 6)) as server:
        path = done(way, server.url, lambda client: client.download(files.content("file-1"), tmp_path / "out"))

    assert path.read_bytes() == CONTENT
    assert [asked.headers.get("range") for asked in server.asked] == [
        None,
        *(f"bytes={n}00000-" for n in range(1, 7)),
    ]
    assert {asked.headers.get("if-range") for asked in server.asked[1:]} == {'"v1"'}


@both
def test_a_download_from_the_emulator_goes_on_where_it_was_cut(
    way: str, emulator: Emulator, client: Together, rows: Path, tmp_path: Path
) -> None:
    file = client.upload(rows, purpose="fine-tune")
    emulator.fault(method="GET", path="/files/{id}/content", truncate=200_000, times=3)
    path = done(
        way,
        emulator.url,
        lambda client: client.download(files.content(file.id), tmp_path / "out", expected_size=file.bytes),
    )

    assert path.read_bytes() == rows.read_bytes()
    assert emulator.faults()[0]["hits"] == 3


def test_a_server_without_ranges_is_asked_from_the_start(tmp_path: Path) -> None:
    with scripted(a_storage([100_000, 200_000], ranges=False)) as server:
        path = done("sync", server.url, lambda client: client.download(files.content("file-1"), tmp_path / "out"))

    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_a_download_that_brings_nothing_any_more_is_given_up_and_cleaned_up(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"older")
    with (
        scripted(a_storage([500, 500, *[0] * 50])) as server,
        pytest.raises(TransferIncomplete, match="1000 of 700000"),
    ):
        done("sync", server.url, lambda client: client.download(files.content("file-1"), tmp_path / "out"))

    assert len(server.asked) == 6
    assert (tmp_path / "out").read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_wrong_place_to_go_on_is_not_joined(tmp_path: Path) -> None:
    def answer(asked: Asked) -> Reply:
        if "range" in asked.headers:
            return Reply(206, CONTENT[5:], {"Content-Range": f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"})
        return Reply(200, CONTENT, cut=1000)

    with scripted(answer) as server, pytest.raises(Exception, match="another place"):
        done("sync", server.url, lambda client: client.download(files.content("file-1"), tmp_path / "out"))

    assert list(tmp_path.iterdir()) == []


def test_content_that_changed_meanwhile_is_fetched_anew(tmp_path: Path) -> None:
    newer = b"entirely new"

    def answer(asked: Asked) -> Reply:
        if len(server.asked) == 1:
            return Reply(200, CONTENT, {"ETag": '"v1"'}, cut=1000)
        return Reply(200, newer, {"ETag": '"v2"'})  # If-Range names v1, so the whole is sent

    with scripted(answer) as server:
        path = done("sync", server.url, lambda client: client.download(files.content("file-1"), tmp_path / "out"))

    assert path.read_bytes() == newer


@both
@pytest.mark.parametrize("expected", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_another_size_than_expected_is_refused(way: str, expected: int, tmp_path: Path) -> None:
    with scripted(a_storage([])) as server, pytest.raises(TransferIncomplete, match=str(expected)):
        done(
            way,
            server.url,
            lambda client: client.download(files.content("file-1"), tmp_path / "out", expected_size=expected),
        )

    assert list(tmp_path.iterdir()) == []


def test_an_answer_of_unknown_length_that_ends_early_is_noticed_by_the_expected_size(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\n\r\n"

    def answer(asked: Asked) -> Reply:
        if "range" in asked.headers:
            return a_storage([])(asked)
        return Reply(raw=head + CONTENT[:300_000])

    with scripted(answer) as server:
        path = done(
            "sync",
            server.url,
            lambda client: client.download(files.content("file-1"), tmp_path / "out", expected_size=len(CONTENT)),
        )

    assert path.read_bytes() == CONTENT


@both
def test_the_key_stays_behind_when_content_lies_elsewhere(way: str, tmp_path: Path) -> None:
    with (
        scripted(a_storage([300_000])) as storage,
        scripted(lambda asked: Reply(302, headers={"Location": f"{storage.url}/x?sig=1"})) as server,
    ):
        path = done(way, server.url, lambda client: client.download(files.content("file-1"), tmp_path / "out"))

    assert path.read_bytes() == CONTENT
    assert all("authorization" not in asked.headers for asked in storage.asked)
    assert [asked.headers.get("range") for asked in storage.asked] == [None, "bytes=300000-"]
    assert len(server.asked) == 2  # a signed address may have expired, so a new one is asked for


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("", "file-1"),
        ('attachment; filename="results.jsonl"', "results.jsonl"),
        ('attachment; filename="../../evil.sh"', "evil.sh"),
        ("attachment; filename=/etc/passwd", "passwd"),
        ('attachment; filename=".."', "file-1"),
        ('attachment; filename="a\\\\..\\\\..\\\\evil.exe"', "evil.exe"),
        ("attachment; filename*=UTF-8''..%2F..%2Fevil%00.sh", "evil.sh"),
        ("attachment; filename*=UTF-8''%2E%2E%2F%2E%2E", "file-1"),
        ('attachment; filename="C:evil.bat"', "C:evil.bat"),
        (f'attachment; filename="{"x" * 5_000}.jsonl"', "x" * 194 + ".jsonl"),
        ('attachment; filename=".bashrc"', "bashrc"),
    ],
)
def test_no_name_from_the_server_leaves_the_folder(disposition: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    headers = {"Content-Disposition": disposition} if disposition else {}
    with scripted(lambda asked: Reply(200, b"x", headers)) as server:
        path = done("sync", server.url, lambda client: client.download(files.content("file-1"), folder))

    assert path == folder / name
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


@both
def test_a_refused_download_is_an_ordinary_error(way: str, emulator: Emulator, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        done(way, emulator.url, lambda client: client.download(files.content("file-nowhere"), tmp_path / "out"))

    assert list(tmp_path.iterdir()) == []


def test_a_server_that_fails_for_good_is_told_as_such(tmp_path: Path) -> None:
    with scripted(lambda asked: Reply(500)) as server, pytest.raises(ServerFailed):
        done("sync", server.url, lambda client: client.download(files.content("file-1"), tmp_path / "out"))

    assert len(server.asked) == 5


@both
def test_only_files_can_be_downloaded(way: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentInvalid, match=r"files\.list"):
        done(way, "http://127.0.0.1:9", lambda client: client.download(files.list(), tmp_path / "out"))


def test_compressed_content_is_written_plain_and_begun_anew_after_a_cut(tmp_path: Path) -> None:
    import gzip

    packed = gzip.compress(CONTENT)
    cuts: list[int | None] = [100_000, None]
    with scripted(
        lambda asked: Reply(200, packed, {"Content-Encoding": "gzip", "ETag": '"v1"'}, cut=cuts.pop(0))
    ) as server:
        path = done("sync", server.url, lambda client: client.download(files.content("file-1"), tmp_path / "out"))

    assert path.read_bytes() == CONTENT
    assert all("range" not in asked.headers for asked in server.asked)


def test_an_empty_file_can_be_downloaded(tmp_path: Path) -> None:
    with scripted(lambda asked: Reply(200, b"")) as server:
        path = done("sync", server.url, lambda client: client.download(files.content("file-1"), tmp_path / "out"))

    assert path.read_bytes() == b""


def test_a_cut_is_logged_without_secrets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with scripted(a_storage([1000])) as server, caplog.at_level(logging.WARNING):
        done("sync", server.url, lambda client: client.download(files.content("file-1"), tmp_path / "out"))

    assert "GET /files/{id}/content" in caplog.text
    assert "after 1000 bytes; going on in" in caplog.text
    assert "emulator-key" not in caplog.text


# Cancelling


async def all_transfers_ended(client: AsyncTogether) -> None:
    """Return when each thread for transfers is free: only then can all of them meet."""
    meeting = threading.Barrier(PARALLEL_TRANSFERS)
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(loop.run_in_executor(client._threads, meeting.wait, 20) for _ in range(PARALLEL_TRANSFERS)))


async def test_a_cancelled_upload_is_not_completed(rows: Path) -> None:
    arrived, cancelled = threading.Event(), threading.Event()

    def put(asked: Asked) -> Reply:
        arrived.set()
        cancelled.wait(20)
        return Reply()

    with scripted(an_api(put)) as server:
        async with AsyncTogether(api_key="key-123456", base_url=server.url) as client:
            uploading = asyncio.create_task(client.upload(rows, purpose="fine-tune"))
            await asyncio.to_thread(arrived.wait, 20)
            uploading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await uploading
            cancelled.set()
            await all_transfers_ended(client)

    assert not [asked for asked in server.asked if "preprocess" in asked.path]


async def test_a_cancelled_download_leaves_nothing(tmp_path: Path) -> None:
    cancelled = threading.Event()

    def answer(asked: Asked) -> Reply:
        if "range" in asked.headers:
            cancelled.wait(20)
        return a_storage([100_000])(asked)

    with scripted(answer) as server:
        async with AsyncTogether(api_key="key-123456", base_url=server.url) as client:
            begun = asyncio.Event()
            downloading = asyncio.create_task(
                client.download(files.content("file-1"), tmp_path / "out", on_progress=lambda *now: begun.set())
            )
            await begun.wait()
            downloading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await downloading
            cancelled.set()
            await all_transfers_ended(client)

    assert list(tmp_path.iterdir()) == []


async def test_transfers_of_one_client_run_side_by_side(tmp_path: Path) -> None:
    together = threading.Barrier(3)

    def answer(asked: Asked) -> Reply:
        together.wait(10)
        return Reply(200, CONTENT)

    with scripted(answer) as server:
        async with AsyncTogether(api_key="key-123456", base_url=server.url) as client:
            paths = await asyncio.gather(
                *(client.download(files.content(f"file-{n}"), tmp_path / str(n)) for n in range(3))
            )

    assert [path.read_bytes() for path in paths] == [CONTENT] * 3
