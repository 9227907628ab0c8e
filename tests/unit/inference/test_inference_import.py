"""What importing costs: a module that only mentions the fan-out is parsed every few seconds."""

from __future__ import annotations

import subprocess
import sys


def test_the_package_and_the_operator_load_no_http_library() -> None:
    code = (
        "import sys, together_flows.inference, airflow_provider.operators.inference; "
        "print([name for name in sys.modules if name == 'httpx2' or name.startswith('together_flows.api')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
