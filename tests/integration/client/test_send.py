"""Sending operations over real sockets, with everything that can go wrong on the way."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.integration.client.scripted import Asked, Reply, scripted
from together_flows import AsyncTogether, Together
from together_flows.api import files, fine_tunes
from together_flows.api._operation import Operation
from together_flows.client import Retries
from together_flows.client._base import JSON_LIMIT
from together_flows.emulator import Emulator
from together_flows.errors import (
    AnswerInvalid,
    ApiError,
    ArgumentInvalid,
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    NotFound,
    RateLimited,
    ServerFailed,
    SubmissionUnknown,
    TogetherError,
)

ROW = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'

EMPTY_LIST = Reply(body=b'{"data": []}')

Send = Callable[[Operation[Any]], Any]


@pytest.fixture(params=["sync", "async"])
def send(request: pytest.FixtureRequest, emulator: Emulator) -> Send:
    """Both clients, sending to the emulator: what is true of one is true of the other."""
    return sender(request.param, emulator.url, api_key=emulator.api_key)


def sender(way: str, url: str, **settings: Any) -> Send:
    settings = dict[str, Any]({"api_key": "key-123456", "timeout": 20}) | settings

    def blocking(operation: Operation[Any]) -> Any:
        with Together(base_url=url, **settings) as client:
            return client.send(operation)

    def awaited(operation: Operation[Any]) -> Any:
        async def main() -> Any:
            async with AsyncTogether(base_url=url, **settings) as client:
                return await client.send(operation)

        return asyncio.run(main())

    return blocking if way == "sync" else awaited


both = pytest.mark.parametrize("way", ["sync", "async"])


@pytest.fixture
def training_file(client: Together, tmp_path: Path) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(ROW * 20)
    return client.upload(path, purpose="fine-tune").id


def a_job(training_file: str) -> Operation[Any]:
    return fine_tunes.create(training_file=training_file, model="meta-llama/Meta-Llama-3.1-8B-Instruct-Reference")


def created(emulator: Emulator) -> int:
    return len([job for job in emulator.jobs() if "ft-" in json.dumps(job)])


def test_an_operation_is_answered_with_its_type(send: Send) -> None:
    assert isinstance(send(files.list()), files.FileList)


def test_a_wrong_key_is_refused_without_being_shown(emulator: Emulator) -> None:
    with pytest.raises(AuthenticationFailed) as refused:
        sender("sync", emulator.url, api_key="not-the-key-at-all")(files.list())

    assert "not-the-key-at-all" not in f"{refused.value} {refused.value.body}"


def test_a_missing_object_is_not_found(send: Send) -> None:
    with pytest.raises(NotFound):
        send(fine_tunes.retrieve("ft-nowhere"))


@pytest.mark.parametrize("status", [429, 503])
def test_a_refused_creation_is_repeated_and_happens_once(
    send: Send, emulator: Emulator, training_file: str, status: int
) -> None:
    emulator.fault(method="POST", path="/fine-tunes", status=status, times=2)

    job = send(a_job(training_file))

    assert job.id
    assert created(emulator) == 1


def test_a_refusal_that_does_not_pass_is_raised_as_what_it_is(
    send: Send, emulator: Emulator, training_file: str
) -> None:
    emulator.fault(method="POST", path="/fine-tunes", status=429, times=None)
    with pytest.raises(RateLimited):
        send(a_job(training_file))

    assert created(emulator) == 0


@pytest.mark.parametrize(
    "fault",
    [{"drop": "before"}, {"drop": "after"}, {"status": 500}, {"status": 504}, {"truncate": 20}, {"omit": ["id"]}],
    ids=str,
)
def test_a_creation_whose_answer_is_lost_is_unknown_and_never_repeated(
    send: Send, emulator: Emulator, training_file: str, fault: dict[str, Any]
) -> None:
    emulator.fault(method="POST", path="/fine-tunes", **fault)
    with pytest.raises(SubmissionUnknown) as unknown:
        send(a_job(training_file))

    assert emulator.faults()[0]["seen"] == 1
    assert isinstance(unknown.value.__cause__, ConnectionFailed | ServerFailed | AnswerInvalid)
    assert not unknown.value.retryable
    assert unknown.value.mend


def test_a_creation_that_the_api_refuses_is_known_not_to_exist(send: Send, emulator: Emulator) -> None:
    with pytest.raises(ApiError):
        send(a_job("file-nowhere"))

    assert created(emulator) == 0


@pytest.mark.parametrize(
    "fault", [{"drop": "before"}, {"drop": "after"}, {"status": 500}, {"status": 504}, {"truncate": 5}], ids=str
)
def test_a_reading_is_repeated_until_it_succeeds(send: Send, emulator: Emulator, fault: dict[str, Any]) -> None:
    emulator.fault(method="GET", path="/files", times=3, **fault)

    assert send(files.list()).data == []
    assert emulator.faults()[0]["hits"] == 3


def test_a_reading_is_not_repeated_for_ever(send: Send, emulator: Emulator) -> None:
    emulator.fault(method="GET", path="/files", drop="before", times=None)
    with pytest.raises(ConnectionFailed) as failed:
        send(files.list())

    assert failed.value.sent
    assert emulator.faults()[0]["hits"] == 5


@both
def test_the_wait_that_the_server_asks_for_is_logged_and_kept(
    way: str, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.fault(method="GET", path="/files", status=429, headers={"Retry-After": "17"})
    with caplog.at_level(logging.WARNING, "together_flows"):
        sender(way, emulator.url, api_key=emulator.api_key)(files.list())

    assert "GET /files: HTTP 429; trying again in 17." in caplog.text
    assert emulator.api_key not in caplog.text


@both
def test_a_refused_connection_was_certainly_not_sent(way: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(ConnectionFailed) as failed:
            sender(way, url)(a_job("file-1"))

    assert failed.value.sent is False


@both
def test_a_server_that_never_answers_is_given_up(way: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConnectionFailed, match=r"no answer within 0\.2 s") as failed:
            sender(way, url, timeout=0.2, retries=Retries(attempts=2))(files.list())

    assert failed.value.sent


@both
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1",
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
    ids=["nothing", "half a line", "nonsense", "cut", "cut chunk", "endless header"],
)
def test_every_broken_answer_is_a_failed_connection(way: str, raw: bytes) -> None:
    with (
        scripted(lambda asked: Reply(raw=raw)) as server,
        pytest.raises(ConnectionFailed),
    ):
        sender(way, server.url, retries=Retries(attempts=2))(files.list())

    assert len(server.asked) == 2


@both
@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"<html>welcome to the hotel</html>", headers={"Content-Type": "text/html"}),
        Reply(body=b""),
        Reply(body=b"[" * 300_000),
        Reply(body=b'{"error": {"message": "no such file"}}'),
        Reply(body=b"not gzip", headers={"Content-Encoding": "gzip"}),
    ],
    ids=["page", "nothing", "nested", "error in 200", "bad compression"],
)
def test_every_answer_of_another_kind_is_invalid(way: str, reply: Reply) -> None:
    with scripted(lambda asked: reply) as server, pytest.raises(AnswerInvalid):
        sender(way, server.url)(files.list())

    assert len(server.asked) == 1


@both
def test_an_answer_without_end_is_refused_in_bounded_memory(way: str) -> None:
    bomb = gzip.compress(b" " * (200 * 1024 * 1024), compresslevel=1)
    with (
        scripted(lambda asked: Reply(body=bomb, headers={"Content-Encoding": "gzip"})) as server,
        pytest.raises(AnswerInvalid, match="larger than"),
    ):
        sender(way, server.url)(files.list())


@both
@pytest.mark.parametrize("packing", ["br", "zstd", "gzip, ZSTD", "x-" + "y" * 5_000])
@pytest.mark.parametrize("status", [200, 400])
def test_an_answer_that_is_packed_as_nobody_asked_for_is_refused_unread(way: str, packing: str, status: int) -> None:
    packed = Reply(status, b'{"data": []}', {"Content-Encoding": packing})
    with (
        scripted(lambda asked: packed) as server,
        pytest.raises(AnswerInvalid, match=r"packed as .{1,60}, unasked for"),
    ):
        sender(way, server.url)(files.list())
    assert server.asked[0].headers["accept-encoding"] == "gzip, deflate"


@both
def test_an_error_of_any_length_is_read_only_at_its_beginning(way: str) -> None:
    endless = Reply(400, b'{"error": "bad"}' + b" " * 1_000_000, headers={"Content-Length": "1000000000000"})
    with scripted(lambda asked: endless) as server, pytest.raises(BadRequest, match="bad"):
        sender(way, server.url)(files.list())


@both
def test_a_long_list_arrives_whole(way: str) -> None:
    rows = [{"id": f"file-{n}", "bytes": n} for n in range(20_000)]
    body = json.dumps({"data": rows}).encode()
    with scripted(lambda asked: Reply(body=body)) as server:
        answer = sender(way, server.url)(files.list())

    assert [row.bytes for row in answer.data] == list(range(20_000))


async def test_the_event_loop_turns_while_a_long_list_is_read() -> None:
    ticks = turns = 0

    class Watched(AsyncTogether):
        def _answer(self, *arguments: Any) -> Any:
            nonlocal turns
            before = ticks
            answer = super()._answer(*arguments)
            turns = ticks - before
            return answer

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    rows = [{"id": f"file-{n}", "filename": "x" * 40, "bytes": n} for n in range(40_000)]
    body = json.dumps({"data": rows}).encode()
    with scripted(lambda asked: Reply(body=body)) as server:
        async with Watched(api_key="key-123456", base_url=server.url) as client:
            ticking = asyncio.create_task(tick())
            await client.send(files.list())
            ticking.cancel()

    assert turns > 5


@both
def test_a_refused_answer_gives_its_connection_back(way: str) -> None:
    def answer(asked: Asked) -> Reply:
        return Reply(body=b" " * (JSON_LIMIT + 1)) if len(server.asked) == 1 else EMPTY_LIST

    settings = dict[str, Any](api_key="key-123456", max_connections=1, timeout=2, retries=Retries(attempts=1))

    def refused_then_sent(url: str) -> files.FileList:
        with Together(base_url=url, **settings) as client:
            with pytest.raises(AnswerInvalid):
                client.send(files.list())
            return client.send(files.list())

    async def refused_then_sent_async(url: str) -> files.FileList:
        async with AsyncTogether(base_url=url, **settings) as client:
            with pytest.raises(AnswerInvalid):
                await client.send(files.list())
            return await client.send(files.list())

    with scripted(answer) as server:
        sent = asyncio.run(refused_then_sent_async(server.url)) if way == "async" else refused_then_sent(server.url)

    assert sent.data == []


@both
def test_the_size_of_an_answer_is_measured(way: str) -> None:
    async def measured(url: str) -> tuple[Any, int]:
        async with AsyncTogether(api_key="key-123456", base_url=url) as client:
            return await client.send_measured(files.list())

    with scripted(lambda asked: EMPTY_LIST) as server:
        if way == "async":
            answer, size = asyncio.run(measured(server.url))
        else:
            with Together(api_key="key-123456", base_url=server.url) as client:
                answer, size = client.send_measured(files.list())

    assert answer == files.FileList(data=[])
    assert size == len(EMPTY_LIST.body)


@both
def test_an_answer_is_had_with_its_headers(way: str) -> None:
    limited = Reply(body=EMPTY_LIST.body, headers={"X-RateLimit-Remaining": "7"})
    with scripted(lambda asked: limited) as server:
        received = sent_once(way, server.url)

    assert received.answer == files.FileList(data=[])
    assert received.headers["x-ratelimit-remaining"] == "7"
    assert received.size == len(EMPTY_LIST.body)


@both
def test_what_is_sent_once_is_not_tried_again(way: str) -> None:
    with scripted(lambda asked: Reply(status=429, headers={"Retry-After": "3"})) as server:
        with pytest.raises(RateLimited) as refused:
            sent_once(way, server.url)
        assert len(server.asked) == 1

    assert refused.value.retry_after == 3


def sent_once(way: str, url: str) -> Any:
    async def main() -> Any:
        async with AsyncTogether(api_key="key-123456", base_url=url) as client:
            return await client.send_once(files.list())

    if way == "async":
        return asyncio.run(main())
    with Together(api_key="key-123456", base_url=url) as client:
        return client.send_once(files.list())


@both
def test_the_callers_headers_and_the_key_are_sent(way: str) -> None:
    with scripted(lambda asked: EMPTY_LIST) as server:
        sender(way, server.url, api_key="key-123456", headers={"X-Team": "blue"})(files.list())

    (asked,) = server.asked
    assert asked.headers["authorization"] == "Bearer key-123456"
    assert asked.headers["x-team"] == "blue"
    assert asked.headers["user-agent"].startswith("together-flows/")


@both
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_never_follows_a_redirect_to_another_host(way: str, status: int) -> None:
    with scripted(lambda asked: EMPTY_LIST) as other:
        elsewhere = Reply(status, headers={"Location": f"{other.url}/stolen", "Set-Cookie": "session=1; Path=/"})
        with scripted(lambda asked: elsewhere) as server:
            sender(way, server.url, api_key="key-123456", headers={"X-Internal-Token": "t0ken-1"})(files.list())

    (asked,) = other.asked
    assert asked.path == "/stolen"
    assert "key-123456" not in str(asked.headers)
    assert "t0ken-1" not in str(asked.headers)
    assert "cookie" not in asked.headers


@both
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "http://api.example/v1/files",
        "https://api.example:8443/v1/files",
        "https://api.example@elsewhere.example/v1/files",
        "https://api.example:443@elsewhere.example/v1/files",
        "//elsewhere.example/v1/files",
        "https://api.example.elsewhere.example/v1/files",
        "https://API.EXAMPLE\\@elsewhere.example/v1/files",
    ],
    ids=["downgrade", "other port", "user", "user and password", "no scheme", "longer name", "backslash"],
)
def test_the_key_goes_only_where_it_is_due(way: str, status: int, location: str) -> None:
    asked: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(status, headers={"Location": location}) if len(asked) == 1 else httpx2.Response(404)

    settings = {"retries": Retries(attempts=1), "headers": {"X-Own": "t0ken-1"}}
    with pytest.raises(TogetherError):
        sender(way, "https://api.example/v1", transport=httpx2.MockTransport(answer), **settings)(files.list())

    assert asked[0].headers["authorization"] == "Bearer key-123456"
    for request in asked[1:]:
        assert "key-123456" not in str(request.headers.raw)
        assert "t0ken-1" not in str(request.headers.raw)


@both
def test_the_key_goes_along_on_the_same_host(way: str) -> None:
    def answer(asked: Asked) -> Reply:
        return EMPTY_LIST if asked.path == "/v1/moved" else Reply(307, headers={"Location": "/v1/moved"})

    with scripted(answer) as server:
        sender(way, server.url)(files.list())

    assert [asked.headers["authorization"] for asked in server.asked] == ["Bearer key-123456"] * 2


@both
def test_redirects_without_end_are_refused(way: str) -> None:
    with (
        scripted(lambda asked: Reply(302, headers={"Location": "/v1/files"})) as server,
        pytest.raises(AnswerInvalid, match="redirected"),
    ):
        sender(way, server.url)(files.list())


@both
@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_creation_is_never_turned_into_a_reading_by_a_redirect(way: str, status: int) -> None:
    with (
        scripted(lambda asked: Reply(status, headers={"Location": "/v1/fine-tunes"})) as server,
        pytest.raises(ApiError, match="TOGETHER_BASE_URL"),
    ):
        sender(way, server.url)(a_job("file-1"))

    assert [asked.method for asked in server.asked] == ["POST"]


@both
def test_a_creation_is_not_taken_to_another_host(way: str) -> None:
    with (
        scripted(lambda asked: EMPTY_LIST) as other,
        scripted(lambda asked: Reply(307, headers={"Location": f"{other.url}/v1/fine-tunes"})) as server,
        pytest.raises(ApiError),
    ):
        sender(way, server.url)(a_job("file-1"))

    assert other.asked == []


@both
@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://[", "\x01", "http://:0/"])
def test_a_redirect_to_nowhere_is_an_error_of_ours(way: str, location: str) -> None:
    with (
        scripted(lambda asked: Reply(302, headers={"Location": location})) as server,
        pytest.raises(TogetherError),
    ):
        sender(way, server.url, retries=Retries(attempts=1))(files.list())


def test_threads_share_one_client_and_its_connections() -> None:
    gate = threading.Barrier(8)

    def answer(asked: Asked) -> Reply:
        gate.wait(10)
        return EMPTY_LIST

    with (
        scripted(answer) as server,
        Together(api_key="key-123456", base_url=server.url) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        for _ in range(5):
            assert len(list(pool.map(lambda _: client.send(files.list()), range(8)))) == 8

    assert len(server.asked) == 40
    assert server.connections == 8


async def test_parallel_sends_reuse_their_connections() -> None:
    with scripted(lambda asked: EMPTY_LIST) as server:
        async with AsyncTogether(api_key="key-123456", base_url=server.url, max_connections=10) as client:
            for _ in range(5):
                await asyncio.gather(*(client.send(files.list()) for _ in range(30)))

    assert len(server.asked) == 150
    assert server.connections <= 10


def test_a_connection_stays_open_after_an_error() -> None:
    with (
        scripted(lambda asked: Reply(404, b'{"error": {"message": "no"}}')) as server,
        Together(api_key="key-123456", base_url=server.url) as client,
    ):
        for _ in range(3):
            with pytest.raises(NotFound):
                client.send(files.list())

    assert server.connections == 1


def test_a_closed_client_says_so() -> None:
    client = Together(api_key="key-123456", base_url="http://127.0.0.1:9")
    client.close()
    with pytest.raises(ArgumentInvalid, match="closed"):
        client.send(files.list())


async def test_a_closed_async_client_says_so() -> None:
    client = AsyncTogether(api_key="key-123456", base_url="http://127.0.0.1:9")
    await client.close()
    with pytest.raises(ArgumentInvalid, match="closed"):
        await client.send(files.list())


def test_an_async_client_refuses_a_second_event_loop() -> None:
    with scripted(lambda asked: EMPTY_LIST) as server:
        client = AsyncTogether(api_key="key-123456", base_url=server.url)

        async def twice() -> None:
            await client.send(files.list())

        async def once_more() -> None:
            with pytest.raises(ArgumentInvalid, match="event loop"):
                await client.send(files.list())

        async def both_loops() -> None:
            await twice()
            await asyncio.to_thread(asyncio.run, once_more())
            await client.close()

        asyncio.run(both_loops())


async def test_a_cancelled_send_frees_its_connection() -> None:
    held = threading.Event()

    def answer(asked: Asked) -> Reply:
        if len(server.asked) == 1:
            held.wait(10)
        return EMPTY_LIST

    with scripted(answer) as server:
        async with AsyncTogether(api_key="key-123456", base_url=server.url, max_connections=1) as client:
            first = asyncio.create_task(client.send(files.list()))
            while not server.asked:
                await asyncio.sleep(0.01)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            held.set()
            assert (await client.send(files.list())).data == []


def test_addresses_with_signatures_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    def answer(asked: Asked) -> Reply:
        location = {"Location": "/storage/x?X-Amz-Signature=s1gnature&X-Amz-Credential=cr3d"}
        return Reply(body=b"content") if "storage" in asked.path else Reply(302, headers=location)

    with (
        scripted(answer) as server,
        Together(api_key="key-123456", base_url=server.url) as client,
        caplog.at_level(logging.INFO),
    ):
        assert client.send(files.content("file-1")) == b"content"

    assert "/storage/x" in caplog.text
    assert "s1gnature" not in caplog.text
    assert "cr3d" not in caplog.text
    assert "key-123456" not in caplog.text
