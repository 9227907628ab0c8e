"""The hook: from an Airflow connection to a client of Together AI."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from together_flows.errors import ConfigurationInvalid, TogetherError

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from together_flows.client import AsyncTogether, Together

__all__ = ["TogetherHook", "address_of"]

_NUMBERS = {"timeout": float, "connect_timeout": float, "max_connections": int}


@dataclass(frozen=True)
class _Account:
    """What a connection says, in the words of the client."""

    api_key: str = field(repr=False)
    base_url: str | None
    tuning: Mapping[str, Any]


class TogetherHook(BaseHook):
    """
    Talk to Together AI with the key that an Airflow connection holds.

    The connection has the type ``together``. Its password is the API key. Its host, or ``base_url`` in its extra, is
    the address of the API and may be left out. Its extra may hold ``timeout`` and ``connect_timeout`` in seconds, and
    ``max_connections``.

    .. code-block:: python

        from together_flows.api import models

        catalogue = TogetherHook().client.send(models.list())

    :param together_conn_id: the connection's id.
    """

    conn_name_attr = "together_conn_id"
    default_conn_name = "together_default"
    conn_type = "together"
    hook_name = "Together AI"

    def __init__(self, together_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.together_conn_id = together_conn_id

    @cached_property
    def client(self) -> Together:
        """The client of this hook, for code that blocks. Operators use it; a trigger must not."""
        return self.new_client()

    def get_conn(self) -> Together:
        """The same as ``client``, under the name that Airflow gives it."""
        return self.client

    def new_client(self) -> Together:
        """A client with connections of its own, for when those of ``client`` may be in the middle of something."""
        from together_flows.client import Together

        account = self._account
        _quieten_requests()
        with self._blaming_the_connection():
            return Together(api_key=account.api_key, base_url=account.base_url, **account.tuning)

    async def aget_client(self) -> AsyncTogether:
        """
        The client that everything in this event loop shares for the account. It never blocks the loop.

        What the extra of the connection says about time-outs and pools holds for ``client`` only.
        """
        from together_flows.client import async_client_for

        account = self._read(await self._afind())
        _quieten_requests()
        with self._blaming_the_connection():
            return async_client_for(api_key=account.api_key, base_url=account.base_url)

    async def anew_client(self, **tuning: Any) -> AsyncTogether:
        """
        A client of its own for this event loop, for work that calls for another pool than the shared client has.

        Whoever takes it closes it. It never blocks the loop.

        :param tuning: arguments of ``AsyncTogether`` that go before what the extra of the connection says.
        """
        from together_flows.client import AsyncTogether

        account = self._read(await self._afind())
        _quieten_requests()
        with self._blaming_the_connection():
            return AsyncTogether(api_key=account.api_key, base_url=account.base_url, **{**account.tuning, **tuning})

    def test_connection(self) -> tuple[bool, str]:
        """Ask the API for its models, which costs nothing and needs a valid key."""
        from together_flows.api import models

        try:
            found = self.client.send(models.list().untyped())
        except TogetherError as error:
            return False, str(error)
        return True, f"Connected to {self.client.base_url}: {len(found)} models."

    @cached_property
    def _account(self) -> _Account:
        return self._read(self._find())

    def _find(self) -> Connection:
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            return self.get_connection(self.together_conn_id)
        except AirflowNotFoundException:
            raise self._missing() from None

    async def _afind(self) -> Connection:
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            return await self.aget_connection(self.together_conn_id)
        except AirflowNotFoundException:
            raise self._missing() from None

    def _missing(self) -> ConfigurationInvalid:
        variable = f"AIRFLOW_CONN_{self.together_conn_id.upper()}"
        return ConfigurationInvalid(
            f"There is no Airflow connection {self.together_conn_id!r}.",
            mend=(
                f"Create it: airflow connections add {self.together_conn_id} --conn-type together "
                f"--conn-password <API key>; or set {variable}="
                """'{"conn_type": "together", "password": "<API key>"}'."""
            ),
        )

    def _read(self, connection: Connection) -> _Account:
        """Turn a connection into an account. Airflow masks its password and extra in the logs when it loads it."""
        extra = self._extra(connection)
        if not (connection.password or "").strip():
            raise ConfigurationInvalid(
                f"The Airflow connection {self.together_conn_id!r} holds no API key.",
                mend="Put the key into its password.",
            )
        tuning = {}
        for name, number in _NUMBERS.items():
            if extra.get(name) in (None, ""):
                continue
            try:
                tuning[name] = number(extra[name])
            except (TypeError, ValueError):
                raise ConfigurationInvalid(
                    f"{name} in the extra of the Airflow connection {self.together_conn_id!r} is no number."
                ) from None
        base_url = extra.get("base_url") or address_of(connection)
        return _Account(api_key=connection.password or "", base_url=base_url, tuning=tuning)

    def _extra(self, connection: Connection) -> dict[str, Any]:
        try:
            extra = json.loads(connection.extra or "{}")
        except ValueError:
            extra = None
        if not isinstance(extra, dict):
            raise ConfigurationInvalid(
                f"The extra of the Airflow connection {self.together_conn_id!r} is no JSON object.",
                mend='Write it like {"timeout": 60}, or leave it empty.',
            )
        return extra

    @contextmanager
    def _blaming_the_connection(self) -> Iterator[None]:
        """The client's errors about its settings speak of environment variables; say which connection is meant."""
        try:
            yield
        except ConfigurationInvalid as error:
            raise ConfigurationInvalid(
                f"The Airflow connection {self.together_conn_id!r} does not work: {error.message}",
                mend="Mend its password, its host or its extra.",
            ) from None


def _quieten_requests() -> None:
    """Keep a line for each request, of which a wait has many, out of the task's log, unless somebody asked for it."""
    logger = logging.getLogger("httpx2")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)


def address_of(connection: Connection) -> str | None:
    """
    An address from a connection's host: either a whole URL, or a host name with or without a port.

    :param connection: the connection.
    :returns: the address; ``None`` if the connection has no host.
    """
    host = (connection.host or "").strip()
    if not host:
        return None
    if "://" not in host:
        host = f"{connection.schema or 'https'}://{host}"
    scheme, _, rest = host.partition("://")
    name, slash, path = rest.partition("/")
    if connection.port and ":" not in name:
        name = f"{name}:{connection.port}"
    return f"{scheme}://{name}{slash}{path}"
