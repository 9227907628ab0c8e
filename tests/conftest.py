"""What all tests share: processes that find their modules compiled, and examples that are the same each time."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import settings

# Where bytecode is not written, as in many containers, each of a thousand processes would compile Airflow or Prefect.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.setdefault("PYTHONPYCACHEPREFIX", str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode"))

# A counterexample that comes up by chance fails a change that has nothing to do with it: look for one on purpose, with
# `--hypothesis-profile=random`. Pytest applies that option after this file.
settings.register_profile("random", derandomize=False)
settings.register_profile("steady", derandomize=True)
settings.load_profile("steady")
