"""The command `together-flows`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command, or say how to install what it needs."""
    try:
        from together_flows.cli.app import app
    except ModuleNotFoundError as missing:
        sys.exit(f"together-flows needs {missing.name}. Install it with: pip install 'together-flows[cli]'")
    app()
