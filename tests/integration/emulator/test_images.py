"""Images, and the signed addresses that lead to them."""

from __future__ import annotations

import base64
import struct
from typing import Any

import httpx2
import pytest

from .account import Account
from .portable_network_graphics import png_pixels

IMAGES, RANKER = "black-forest-labs/FLUX.1-schnell", "Salesforce/Llama-Rank-V1"


def paint(account: Account, **request: Any) -> list[dict[str, Any]]:
    body = {"model": IMAGES, "prompt": "a cat in space", "width": 64, "height": 128, "seed": 1} | request
    answer = account.post("/images/generations", body)
    assert answer["object"] == "list"
    return list(answer["data"])


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
