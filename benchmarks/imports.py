"""What importing costs: the scheduler parses every DAG again and again, so an operator's import is paid all day.

Each row is a fresh interpreter; CPU seconds are the median of the runs, over what the base costs by itself.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

_PROBE = """
import resource, sys
{base}
before = resource.getrusage(resource.RUSAGE_SELF)
{statement}
after = resource.getrusage(resource.RUSAGE_SELF)
spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
http = sorted(name for name in ("httpx2", "aiohttp", "airflow", "prefect") if name in sys.modules)
print(spent * 1000, ",".join(http))
"""

_BARE = "pass"
_SDK = "import airflow.sdk, airflow.triggers.base"

ROWS = (
    (_BARE, "import together_flows"),
    (_BARE, "import together_flows.jobs"),
    (_BARE, "from together_flows.api import fine_tunes"),
    (_BARE, "from together_flows import Together"),
    (_SDK, "import airflow_provider.operators.fine_tune"),
    (_SDK, "import airflow_provider.operators.batch"),
    (_SDK, "import airflow_provider.operators.endpoint"),
    (_SDK, "import airflow_provider.sensors.job"),
    (_SDK, "import airflow_provider.triggers.job"),
)


def measure(base: str, statement: str, *, runs: int = 5) -> tuple[float, str]:
    """CPU milliseconds of a statement after a base, and which heavy libraries were loaded at the end."""
    spent, loaded = [], ""
    for _ in range(runs):
        probe = _PROBE.format(base=base, statement=statement)
        out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
        milliseconds, _, loaded = out.strip().splitlines()[-1].partition(" ")
        spent.append(float(milliseconds))
    return statistics.median(spent), loaded


def main() -> None:
    """Print the table."""
    print(f"{'statement':58} {'after':12} {'CPU ms':>7}  loaded")
    for base, statement in ROWS:
        spent, loaded = measure(base, statement)
        print(f"{statement:58} {'airflow.sdk' if base == _SDK else 'nothing':12} {spent:7.1f}  {loaded}")


if __name__ == "__main__":
    main()
