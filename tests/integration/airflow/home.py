"""An Airflow of the tests' own. Imported before Airflow is: it reads its home and its settings once, when imported."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

__all__ = ["HOME"]

_KEPT = {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW")}

if "airflow" in sys.modules and "AIRFLOW_HOME" not in _KEPT:
    raise RuntimeError("Airflow was imported before these tests could give it a home of its own.")

HOME = Path(tempfile.mkdtemp(prefix="together-airflow-"))
(HOME / "dags").mkdir()
for name in _KEPT:
    del os.environ[name]
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(HOME / "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "0",  # there is no scheduler that must be given time
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
}


@atexit.register
def _remove() -> None:
    shutil.rmtree(HOME, ignore_errors=True)
