"""What an import costs: operators are parsed every few seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "line",
    [
        "import together_flows",
        "import together_flows.client",
        "from together_flows.client import Retries",
        "from together_flows.api import files; files.list()",
    ],
)
def test_no_http_library_is_loaded_before_a_client_is_used(line: str) -> None:
    look = "import sys; print({'httpx', 'httpx2', 'aiohttp', 'anyio'} & sys.modules.keys())"
    program = f"{line}\n{look}"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert run.stdout.strip() == "set()"


def test_every_public_name_can_be_had() -> None:
    from together_flows import client

    assert all(callable(getattr(client, name)) for name in client.__all__)
    assert dir(client) == sorted(client.__all__)
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        client.nothing_of_the_kind  # noqa: B018 - reading it is the test
