"""What all tests share: the processes that they start find their modules compiled."""

from __future__ import annotations

import os
from pathlib import Path

# Where bytecode is not written, as in many containers, each of a thousand processes would compile Airflow or Prefect.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("PYTHONPYCACHEPREFIX", str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode"))
