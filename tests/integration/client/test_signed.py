"""Downloads from signed addresses, which go to another host and carry no key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from together_flows import Together
from together_flows.api import videos
from together_flows.client import download_signed, instant_retries
from together_flows.emulator import Emulator
from together_flows.errors import TransferIncomplete


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a finished video lies."""
    with Emulator(speed=7200) as emulator, Together(api_key=emulator.api_key, base_url=emulator.url) as client:
        video = client.send(videos.create(model="minimax/hailuo-02", prompt="a bus", seconds=2))
        while video.outputs is None:
            video = client.send(videos.retrieve(video.id))
        assert video.outputs.video_url is not None
        with instant_retries():
            yield video.outputs.video_url


def test_a_file_is_downloaded_under_the_name_in_its_address(address: str, tmp_path: Path) -> None:
    path = download_signed(address, f"{tmp_path}/")
    assert path.parent == tmp_path
    assert path.suffix == ".mp4"
    assert path.read_bytes()[4:8] == b"ftyp"


def test_an_address_that_is_not_good_leaves_nothing_and_is_not_shown(address: str, tmp_path: Path) -> None:
    forged = address.replace("signature=", "signature=0")
    with pytest.raises(TransferIncomplete, match="signed address may have expired") as raised:
        download_signed(forged, tmp_path / "bus.mp4")
    assert "signature=0" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []
