"""Signed addresses: whoever has one may read one object for a while, and needs no key.

The service keeps objects on hosts of its own. Here an address names the loopback host by its other name, so that a
client which takes its key along on a redirect is found out: the object store refuses it, as real ones do.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import quote

from together_flows.emulator.gate import Call
from together_flows.emulator.refusals import Refusal
from together_flows.emulator.world import World

__all__ = ["PREFIX", "check_signature", "signed_url"]

PREFIX = "/_signed"

LIFETIME_SECONDS = 3600
"""Real seconds for which an address is good."""

_OTHER_NAME = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}


def signed_url(call: Call, path: str) -> str:
    """The address of an object.

    Args:
        call: the request that is answered with it; it tells the host.
        path: the object's place under the emulator's folder.
    """
    host = call.url.hostname or "127.0.0.1"
    url = call.url.replace(hostname=_OTHER_NAME.get(host, host), path=f"{PREFIX}/{quote(path)}")
    expires = int(time.time()) + LIFETIME_SECONDS
    return str(url.replace(query=f"expires={expires}&signature={_signature(call.world, path, expires)}"))


def check_signature(call: Call, path: str) -> None:
    """Lets a request for an object pass.

    Raises:
        Refusal: 400, a key was sent along; 403, the signature is wrong or its time is over.
    """
    if "authorization" in call.headers and call.url.hostname in _OTHER_NAME:
        raise Refusal(400, "Only one auth mechanism is allowed: the URL is signed, and Authorization was sent as well.")
    expires = call.whole("expires", 0) or 0
    expected = _signature(call.world, path, expires)
    if not hmac.compare_digest(expected, call.query_params.get("signature", "")):
        raise Refusal(403, "The signature of this URL is wrong.")
    if expires < time.time():
        raise Refusal(403, "This URL has expired.")


def _signature(world: World, path: str, expires: int) -> str:
    return hmac.new(world.api_key.encode(), f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()
