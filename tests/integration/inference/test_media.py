"""Pictures, sound and videos: they land in files, and what is paid is never made again for the sake of its file."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.integration.inference.conftest import Send, asked, lines
from tests.integration.inference.every_kind import most_at_once
from together_flows.emulator import Emulator
from together_flows.errors import AuthenticationFailed, JobFailed, TogetherError
from together_flows.inference.places import place_of

STORAGE = "/_signed/{path}"
PAINT: dict[str, Any] = {
    "operation": "images.generate",
    "model": "black-forest-labs/FLUX.1-schnell",
    "defaults": {"width": 64, "height": 64, "response_format": "url"},
}
FILM: dict[str, Any] = {
    "operation": "videos.create",
    "model": "minimax/video-01-director",
    "defaults": {"seconds": "1", "width": 64, "height": 64},
    "poll_interval": 0.1,
}


def painted(emulator: Emulator) -> int:
    return asked(emulator, "POST /images/generations")


async def test_pictures_at_addresses_are_fetched_and_the_addresses_are_not_kept(send: Send, output: Path) -> None:
    rows = [{"custom_id": "a cat", "prompt": "a cat"}, {"prompt": "a dog", "n": 2, "output_format": "png"}]
    made = await send(rows, **PAINT)
    cat, dogs = lines(output)
    assert [Path(path).name for path in cat["paths"]] == ["000000000-a-cat.jpg"]
    assert [Path(path).name for path in dogs["paths"]] == ["000000001-0.png", "000000001-1.png"]
    assert Path(cat["paths"][0]).read_bytes().startswith(b"\xff\xd8\xff")
    assert {str(Path(path).parent) for path in [*cat["paths"], *dogs["paths"]]} == {made["files_path"]}
    assert "signature" not in output.read_text()


async def test_videos_are_fetched_and_the_addresses_are_not_kept(send: Send, output: Path) -> None:
    made = await send(["a cat", {"custom_id": "../dog", "prompt": "a dog"}], **FILM)
    cat, dog = lines(output)
    assert [Path(path).name for path in cat["paths"] + dog["paths"]] == ["000000000.mp4", "000000001-dog.mp4"]
    assert Path(dog["paths"][0]).parent == Path(made["files_path"])
    assert Path(cat["paths"][0]).read_bytes()[4:8] == b"ftyp"
    assert cat["response"]["id"]
    assert "signature" not in output.read_text()
    assert made["cost_usd"] == 2.0


async def test_no_more_videos_are_made_at_once_than_wished(send: Send, emulator: Emulator) -> None:
    emulator.settings(speed=60)
    await send([f"parcel {n}" for n in range(9)], concurrency=3, **FILM)
    assert most_at_once(emulator.jobs("video")) == 3


async def test_a_refusal_of_a_video_lowers_the_pace(send: Send, emulator: Emulator) -> None:
    emulator.fault(path="/videos", status=429, headers={"Retry-After": "1"}, times=1)
    began = time.monotonic()
    made = await send(["a cat", "a dog"], **FILM)
    assert (made["succeeded"], made["rate_limited"]) == (2, 1)
    assert time.monotonic() - began >= 1
    assert emulator.counts()["created"]["video"] == 2


@pytest.mark.parametrize("wishes", [PAINT, FILM], ids=["pictures", "videos"])
async def test_media_land_in_object_storage_too(wishes: dict[str, Any], send: Send, emulator: Emulator) -> None:
    target = place_of(f"memory://{uuid.uuid4().hex}/out.jsonl")
    made = await send(["a cat", "a dog"], str(target), **wishes)
    with target.open() as stream:
        paths = [json.loads(line)["paths"][0] for line in stream.read().splitlines()]
    assert made["succeeded"] == len(set(paths)) == 2
    for path in paths:
        assert path.startswith(made["files_path"] + "/")
        with place_of(path).open() as stream:
            assert len(stream.read()) > 100


@pytest.mark.parametrize(
    ("wishes", "creation"), [(PAINT, "POST /images/generations"), (FILM, "POST /videos")], ids=["pictures", "videos"]
)
@pytest.mark.parametrize("where", ["local", "remote"])
async def test_a_file_that_cannot_be_fetched_fails_its_row_and_is_not_paid_for_again(
    wishes: dict[str, Any], creation: str, where: str, send: Send, output: Path, emulator: Emulator
) -> None:
    target = place_of(str(output) if where == "local" else f"memory://{uuid.uuid4().hex}/out.jsonl")
    emulator.fault(path=STORAGE, status=403, times=1)
    with pytest.raises(JobFailed, match="could not be fetched"):
        await send(["a cat", "a dog"], str(target), max_failed_share=0.0, **wishes)
    with target.open() as stream:
        found = [json.loads(line) for line in stream.read().splitlines()]
    assert sorted(line["status"] for line in found) == ["failed", "succeeded"]
    assert asked(emulator, creation) == 2

    made = await send(["a cat", "a dog"], str(target), max_failed_share=0.0, **wishes)

    assert (made["succeeded"], made["resumed"]) == (2, 1)
    assert asked(emulator, creation) == 2


async def test_a_failed_file_counts_what_its_answer_has_cost(send: Send, output: Path, emulator: Emulator) -> None:
    emulator.fault(path=STORAGE, status=403, times=1)
    made = await send(["a cat", "a dog"], **FILM)
    assert (made["failed"], made["cost_usd"]) == (1, 2.0)


@pytest.mark.parametrize(
    ("operation", "creation"),
    [("images.generate", "POST /images/generations"), ("videos.create", "POST /videos")],
)
async def test_a_process_that_is_killed_while_it_fetches_pays_nothing_again(
    operation: str, creation: str, send: Send, output: Path, emulator: Emulator, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"parcel {n}"}) + "\n" for n in range(6)))
    emulator.fault(path=STORAGE, delay=30, times=None)
    wishes = PAINT if operation == "images.generate" else FILM
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.inference.sending_child"),
        *(emulator.url, emulator.api_key, str(rows), str(output), json.dumps(wishes)),
    )
    try:
        async with asyncio.timeout(30):
            while asked(emulator, f"GET {STORAGE}") < 6:
                assert child.returncode is None
                await asyncio.sleep(0.01)
    finally:
        child.send_signal(signal.SIGKILL)
        await child.wait()
    emulator.clear_faults()

    made = await send(str(rows), **wishes)

    assert made["succeeded"] == 6
    assert asked(emulator, creation) == 6
    assert not (tmp_path / ".answers.jsonl.part").exists()


async def test_a_folder_that_cannot_be_written_to_stops_the_run_instead_of_paying_on(
    send: Send, output: Path, emulator: Emulator
) -> None:
    (output.parent / "answers-files").write_text("a file where the folder is to be")
    with pytest.raises(TogetherError, match="cannot be written") as stopped:
        await send([f"parcel {n}" for n in range(50)], concurrency=2, **PAINT)
    assert stopped.value.retryable
    assert painted(emulator) <= 3
    paid = painted(emulator)
    (output.parent / "answers-files").unlink()
    made = await send([f"parcel {n}" for n in range(50)], concurrency=2, **PAINT)
    assert made["succeeded"] == 50
    assert painted(emulator) == 50 >= paid


async def test_an_address_that_is_no_web_address_is_not_followed(send: Send, output: Path, emulator: Emulator) -> None:
    secret = output.parent / "secret"
    secret.write_text("mine")
    emulator.fault(path="/images/generations", replace={"url": secret.as_uri()})
    with pytest.raises(JobFailed, match="no address"):
        await send(["a cat"], **PAINT)
    assert not (output.parent / "answers-files").exists()


async def test_no_signed_address_is_left_beside_the_output(send: Send, output: Path, emulator: Emulator) -> None:
    emulator.fault(path="/images/generations", status=401, skip=2)
    with pytest.raises(AuthenticationFailed):
        await send(["a cat", "a dog", "a cow"], concurrency=1, **PAINT)
    await send(["a cat", "a dog", "a cow"], concurrency=1, **PAINT)
    texts = [path.read_text() for path in output.parent.rglob("*.jsonl*")]
    assert texts
    assert not any("signature" in text for text in texts)
