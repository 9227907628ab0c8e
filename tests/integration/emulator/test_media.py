"""Images, videos and rerank: what they answer can be looked at, played and relied on."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from .account import Account

IMAGES, VIDEO, RANKER = "black-forest-labs/FLUX.1-schnell", "minimax/hailuo-02", "Salesforce/Llama-Rank-V1"


def paint(account: Account, **request: Any) -> list[dict[str, Any]]:
    body = {"model": IMAGES, "prompt": "a cat in space", "width": 64, "height": 128, "seed": 1} | request
    answer = account.post("/images/generations", body)
    assert answer["object"] == "list"
    return list(answer["data"])


def png_pixels(content: bytes) -> list[bytes]:
    """The rows of a palette PNG, each in RGB, after checking every chunk's checksum."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    chunks: dict[bytes, bytes] = {}
    place = 8
    while place < len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        data = content[place + 8 : place + 8 + length]
        assert zlib.crc32(name + data) == struct.unpack_from(">I", content, place + 8 + length)[0]
        chunks[name] = data
        place += 12 + length
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    raw = zlib.decompress(chunks[b"IDAT"])
    assert len(raw) == height * (width + 1)
    palette = [chunks[b"PLTE"][i : i + 3] for i in range(0, len(chunks[b"PLTE"]), 3)]
    rows = [raw[y * (width + 1) + 1 : (y + 1) * (width + 1)] for y in range(height)]
    return [b"".join(palette[index] for index in row) for row in rows]


def test_a_png_has_the_asked_size_and_decodes(account: Account) -> None:
    (image,) = paint(account, output_format="png", response_format="base64")
    rows = png_pixels(base64.b64decode(image["b64_json"]))

    assert (image["type"], image["index"]) == ("b64_json", 0)
    assert (len(rows), len(rows[0])) == (128, 64 * 3)


def test_the_default_is_a_jpeg_behind_a_signed_address(account: Account) -> None:
    (image,) = paint(account)
    answer = account.bare.get(image["url"])

    assert image["type"] == "url"
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.content.startswith(b"\xff\xd8\xff\xe0")
    assert answer.content.endswith(b"\xff\xd9")
    frame = answer.content.index(b"\xff\xc0")
    assert struct.unpack_from(">HH", answer.content, frame + 5) == (128, 64)


def test_the_same_seed_paints_the_same_and_each_of_several_images_differs(account: Account) -> None:
    wish = {"n": 3, "response_format": "base64"}
    first, again = (paint(account, **wish) for _ in range(2))

    assert first == again
    assert len({image["b64_json"] for image in first}) == 3
    assert paint(account, prompt="a dog", **wish) != first


@pytest.mark.parametrize(
    "request_",
    [{"width": 63}, {"height": 2056}, {"n": 0}, {"n": 5}, {"steps": 0}, {"prompt": " "}, {"output_format": "gif"}],
)
def test_an_image_out_of_bounds_is_refused(account: Account, request_: dict[str, Any]) -> None:
    body = {"model": IMAGES, "prompt": "a cat"} | request_

    assert account.http.post("/images/generations", json=body).status_code == 400


def test_a_model_that_does_something_else_is_refused_and_an_unknown_one_not_found(account: Account) -> None:
    wrong = account.http.post("/images/generations", json={"model": RANKER, "prompt": "a cat"})
    unknown = account.http.post("/images/generations", json={"model": "no/such", "prompt": "a cat"})

    assert (wrong.status_code, unknown.status_code) == (400, 404)
    assert "type rerank" in wrong.json()["error"]["message"]


def test_a_signed_address_wants_no_key_and_cannot_be_changed_or_outlive_its_time(account: Account) -> None:
    (image,) = paint(account)
    key = {"Authorization": f"Bearer {account.emulator.api_key}"}
    answers = {
        "good": account.bare.get(image["url"]),
        "with a key": account.bare.get(image["url"], headers=key),
        "another object": account.bare.get(image["url"].replace("media/", "files/")),
        "longer": account.bare.get(image["url"].replace("expires=", "expires=9")),
        "unsigned": account.bare.get(image["url"].partition("?")[0]),
        "outside": account.bare.get(f"{image['url'].partition('media/')[0]}..%2Frecords.sqlite3?expires=9&signature=0"),
    }

    assert {what: answer.status_code for what, answer in answers.items()} == {
        "good": 200,
        "with a key": 400,
        "another object": 403,
        "longer": 403,
        "unsigned": 403,
        "outside": 403,
    }


def test_a_signed_address_lies_on_another_host_than_the_api(account: Account) -> None:
    (image,) = paint(account)

    assert httpx2.URL(image["url"]).origin != httpx2.URL(account.emulator.url).origin


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


DOCUMENTS = [
    {"title": "Panda", "text": "The giant panda is a bear that lives in China."},
    {"title": "Llama", "text": "The llama is an animal of South America, found in Peru and Bolivia."},
    {"title": "Invoice", "text": "Payment is due within thirty days."},
]


def rank(account: Account, **request: Any) -> list[dict[str, Any]]:
    body = {"model": RANKER, "query": "What animals can I find in Peru?", "documents": DOCUMENTS} | request
    answer = account.post("/rerank", body)
    assert answer["object"] == "rerank"
    assert answer["usage"]["total_tokens"] > 20
    return list(answer["results"])


def test_the_most_similar_document_comes_first_with_falling_scores(account: Account) -> None:
    results = rank(account)
    scores = [result["relevance_score"] for result in results]

    assert results[0]["index"] == 1
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 2 * scores[-1]


def test_only_as_many_results_as_wanted_with_their_documents_when_wanted(account: Account) -> None:
    texts = [document["text"] for document in DOCUMENTS]
    (best,) = rank(account, top_n=1, return_documents=True, documents=texts)
    (silent,) = rank(account, top_n=1)

    assert best["document"]["text"] == texts[1]
    assert silent["document"]["text"] is None


def test_only_the_rank_fields_count(account: Account) -> None:
    results = rank(account, query="Invoice", rank_fields=["title"])

    assert results[0]["index"] == 2
    assert results[0]["relevance_score"] > 0.5


@pytest.mark.parametrize(
    "request_", [{"documents": []}, {"documents": "text"}, {"top_n": 0}, {"rank_fields": ["author"]}, {"unknown": 1}]
)
def test_a_rerank_that_cannot_be_is_refused(account: Account, request_: dict[str, Any]) -> None:
    body = {"model": RANKER, "query": "x", "documents": DOCUMENTS} | request_

    assert account.http.post("/rerank", json=body).status_code == 400


def test_voices_and_zones_are_listed(account: Account) -> None:
    voices = {row["model"]: {voice["id"] for voice in row["voices"]} for row in account.get("/voices")["data"]}
    (kokoro,) = account.get("/voices", model="hexgrad/Kokoro-82M")["data"]

    assert "af_alloy" in voices["hexgrad/Kokoro-82M"]
    assert "tara" in voices["canopylabs/orpheus-3b-0.1-ft"]
    assert kokoro["model"] == "hexgrad/Kokoro-82M"
    assert "us-central-4b" in account.get("/clusters/availability-zones")["avzones"]


def test_models_that_do_not_write_are_in_the_catalogue_too(account: Account) -> None:
    types = {model["type"] for model in account.get("/models")}

    assert {"chat", "embedding", "image", "video", "audio", "rerank", "transcribe"} <= types
