"""Run every benchmark: `python -m benchmarks`, or only those that are named."""

from __future__ import annotations

import subprocess
import sys

ALL = ("imports", "datasets", "transfer", "polling", "fan_out")


def main() -> None:
    """Each runs in a process of its own, so that none measures another's memory."""
    for name in sys.argv[1:] or ALL:
        print(f"\n== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
