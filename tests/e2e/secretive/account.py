"""Secrets that are easy to recognise, and a Together API that repeats to its clients what they should not have sent."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlencode, urlsplit

import httpx2

from tests.e2e.secret_search import writings
from tests.integration.client.scripted import Asked, Reply, Scripted, scripted

__all__ = ["ECHOES", "KEY", "SECRETS", "Account", "account", "prefixed"]

KEY = "tgp_v1_keyOfTheTests0123456789abcdef"

#: One secret for each place where the API takes one. Most are written otherwise in JSON, in a URL or in HTML.
SECRETS = {
    "key": KEY,
    "wrong_key": "tgp_v1_wrongKeyOfTheTests987654321",
    "hf": 'hf_"TokenOfTheTests"+/9&8<7>é',
    "wandb": "wandb/KeyOfTheTests+5'4%3\\2",
    "elsewhere": 'sk-"ElsewhereOfTheTests"/&=?#',
    "container": 'password: "ContainerOfTheTests/+1"',
    "pem": "-----BEGIN KEY-----\nPemLineOfTheTests1+/\nPemLineOfTheTests2==\n-----END KEY-----\n",
    "registry": "registry+/SecretOfTheTests%20&7",
    "queue": "queue-Password'OfTheTests\"6/",
}

#: What a request carries that is to be refused, and how the refusal is written.
ECHOES = ("refuse-as-text", "refuse-as-list", "refuse-as-page", "refuse-as-url")

_DROPPED = ("host", "content-length", "connection", "accept-encoding")
_NOT_SENT_ON = ("content-length", "transfer-encoding", "content-encoding", "connection", "date", "server")


def prefixed(prefix: str) -> dict[str, str]:
    """The secrets as variables of an environment."""
    return {f"{prefix}{name}".upper(): secret for name, secret in SECRETS.items() if name != "key"}


class Account:
    """An API that passes everything on to the emulator, except what asks to be refused.

    Attributes:
        seen: names of the secrets that arrived.
        refused: how many requests were refused, by the way in which that was written.
    """

    def __init__(self, emulator_url: str) -> None:
        self._emulator = emulator_url.removesuffix("/v1")
        self._http = httpx2.Client(timeout=60)
        self._server: Scripted | None = None
        self.seen: set[str] = set()
        self.refused = dict.fromkeys(ECHOES, 0)

    @property
    def url(self) -> str:
        assert self._server is not None
        return self._server.url

    @contextmanager
    def serving(self) -> Iterator[Account]:
        with self._http, scripted(self.answer) as self._server:
            yield self

    def answer(self, asked: Asked) -> Reply:
        carried = asked.body + asked.headers.get("authorization", "").encode()
        self.seen |= {name for name, secret in SECRETS.items() if any(form in carried for form in writings(secret))}
        for way in ECHOES:
            if way.encode() in asked.body:
                self.refused[way] += 1
                return _REFUSALS[way](asked)
        return self._passed_on(asked)

    def _passed_on(self, asked: Asked) -> Reply:
        headers = {name: value for name, value in asked.headers.items() if name not in _DROPPED}
        answer = self._http.request(asked.method, self._emulator + asked.path, headers=headers, content=asked.body)
        kept = {name: value for name, value in answer.headers.items() if name not in _NOT_SENT_ON}
        return Reply(answer.status_code, answer.content, kept)


@contextmanager
def account(emulator_url: str) -> Iterator[Account]:
    """A running account in front of an emulator."""
    assert urlsplit(emulator_url).hostname == "127.0.0.1"
    with Account(emulator_url).serving() as running:
        yield running


def _as_text(asked: Asked) -> Reply:
    """The API's usual error, with the whole request in its message."""
    words = f"cannot take {asked.body.decode()} from {asked.headers.get('authorization')}"
    return _json(400, {"error": {"message": words, "type": "invalid_request_error", "code": KEY, "param": KEY}})


def _as_list(asked: Asked) -> Reply:
    """A validator's error, with the refused values as they are."""
    return _json(422, {"detail": [{"loc": ["body"], "input": json.loads(asked.body), "msg": "no"}]})


def _as_page(asked: Asked) -> Reply:
    """A proxy's error page."""
    page = f"<html><body><h1>Refused</h1><pre>{html.escape(asked.body.decode())}</pre></body></html>"
    return Reply(403, page.encode(), {"content-type": "text/html", "x-request-id": KEY})


def _as_url(asked: Asked) -> Reply:
    """A success that is no answer, but a form with everything that was sent."""
    sent = json.loads(asked.body)
    return Reply(200, urlencode({"sent": asked.body, "auth": asked.headers["authorization"], **sent}).encode())


def _json(status: int, body: object) -> Reply:
    return Reply(status, json.dumps(body).encode(), {"content-type": "application/json"})


_REFUSALS: dict[str, Callable[[Asked], Reply]] = {
    "refuse-as-text": _as_text,
    "refuse-as-list": _as_list,
    "refuse-as-page": _as_page,
    "refuse-as-url": _as_url,
}
