"""Videos: jobs that end in a clip which can be played."""

from __future__ import annotations

import struct
from typing import Any
from urllib.parse import urlsplit

import pytest

from .account import Account
from .portable_network_graphics import png_pixels

VIDEO = "minimax/hailuo-02"


def boxes(content: bytes) -> dict[bytes, bytes]:
    found = {}
    place = 0
    while place < len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        found[kind] = content[place + 8 : place + size]
        place += size
    return found


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_video_ends_in_a_clip_of_the_asked_length(account: Account, version: str) -> None:
    root = urlsplit(account.emulator.url)._replace(path=f"/{version}/videos").geturl()
    body = {"model": VIDEO, "prompt": "waves", "seconds": "3", "width": 96, "height": 64}
    created = account.post(root, body)
    done = account.until(f"{root}/{created['id']}", lambda video: video["status"] != "in_progress")
    clip = account.bare.get(done["outputs"]["video_url"])
    parts = boxes(clip.content)

    assert created["status"] == "in_progress"
    assert "outputs" not in created
    assert (done["status"], done["seconds"], done["size"]) == ("completed", "3", "96x64")
    assert done["completed_at"] >= done["created_at"]
    assert clip.headers["content-type"] == "video/mp4"
    assert set(parts) == {b"ftyp", b"mdat", b"moov"}
    frames = parts[b"mdat"].split(b"\x89PNG\r\n\x1a\n")[1:]
    assert len(frames) == 3
    assert all(len(png_pixels(b"\x89PNG\r\n\x1a\n" + frame)) == 64 for frame in frames)


def test_a_video_can_fail_and_says_why(account: Account) -> None:
    account.emulator.settings(fail={"video": "The prompt was not safe."})
    created = account.post("/videos", {"model": VIDEO, "prompt": "waves"})
    failed = account.until(f"/videos/{created['id']}", lambda video: video["status"] != "in_progress")

    assert failed["status"] == "failed"
    assert failed["error"]["message"] == "The prompt was not safe."
    assert "outputs" not in failed
    assert account.emulator.counts()["created"]["video"] == 1


@pytest.mark.parametrize(
    ("resolution", "ratio", "size"),
    [("720p", "16:9", "1280x720"), ("1080p", "9:16", "1080x1920"), ("480p", "1:1", "480x480")],
)
def test_the_size_of_a_video_follows_from_resolution_and_ratio(
    account: Account, resolution: str, ratio: str, size: str
) -> None:
    account.emulator.settings(speed=1)
    body = {"model": VIDEO, "prompt": "waves", "seconds": "1", "resolution": resolution, "ratio": ratio}

    assert account.post("/videos", body)["size"] == size


@pytest.mark.parametrize(
    "request_",
    [
        {"seconds": "0"},
        {"seconds": "long"},
        {"steps": 9},
        {"prompt": ""},
        {"resolution": "big"},
        {"output_format": "WEBM"},
    ],
)
def test_a_video_out_of_bounds_is_refused_in_plain_text(account: Account, request_: dict[str, Any]) -> None:
    answer = account.http.post("/videos", json={"model": VIDEO, "prompt": "waves"} | request_)

    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")
    assert account.emulator.counts()["created"]["video"] == 0
