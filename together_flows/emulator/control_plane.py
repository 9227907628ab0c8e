"""The control plane seen from a test: faults, counts and settings of a running emulator, over HTTP."""

from __future__ import annotations

import http.client
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from together_flows.errors import ConfigurationInvalid

__all__ = ["ControlPlane"]

T = TypeVar("T")

_TIMEOUT = 30.0


class ControlPlane:
    """Steers a running emulator. Its methods may be called from any thread.

    Subclasses say where the emulator is by `url`.
    """

    @property
    def url(self) -> str:
        """The base URL for a client, ending in /v1."""
        raise ConfigurationInvalid("The emulator is not running.")

    def counts(self) -> dict[str, Any]:
        """Requests, connections, and how many jobs of each kind were created and cancelled and are running."""
        return self._control("GET", "counts", dict[str, Any])

    def billing(self) -> dict[str, int]:
        """How many jobs of each kind run and cost money just now; files, which cost nothing, are left out."""
        return {kind: count for kind, count in self.counts()["running"].items() if count and kind != "file"}

    def jobs(self, kind: str = "") -> list[dict[str, Any]]:
        """Every job with its raw status, of one kind or of all."""
        return [job for job in self._control("GET", "jobs", list[dict[str, Any]]) if kind in ("", job["kind"])]

    def fault(self, **fault: Any) -> str:
        """Arms a fault and returns its id; `together_flows.emulator.faults.Fault` says what can be given."""
        return self._control("POST", "faults", dict[str, str], fault)["id"]

    def faults(self) -> list[dict[str, Any]]:
        """The armed faults with how often each has struck."""
        return self._control("GET", "faults", list[dict[str, Any]])

    def clear_faults(self) -> None:
        """Disarms every fault."""
        self._control("DELETE", "faults", type(None))

    def settings(self, **settings: Any) -> dict[str, Any]:
        """Changes settings and returns all of them; `together_flows.emulator.world.Settings` says what there is."""
        return self._control("POST", "settings", dict[str, Any], settings)

    def force(self, kind: str, job_id: str, status: str, error: str = "") -> dict[str, Any]:
        """Puts a job into this raw status now, whatever it was about to become."""
        return self._control("POST", f"jobs/{kind}/{job_id}", dict[str, Any], {"status": status, "error": error})

    def reset(self) -> None:
        """Forgets all jobs, files, faults, counts and changed settings."""
        self._control("POST", "reset", type(None))

    def _control(self, method: str, path: str, shape: type[T], body: Any = None) -> T:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=_TIMEOUT)
        try:
            connection.request(method, f"/_emulator/{path}", None if body is None else msgspec.json.encode(body))
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise ConfigurationInvalid(f"The emulator refused: {content.decode(errors='replace')}")
        return msgspec.json.decode(content or b"null", type=shape)
