"""`python -m together_flows.emulator`: the emulator as a process of its own."""

from __future__ import annotations

import argparse

from together_flows.emulator.instance import EMULATOR_API_KEY


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser(
        prog="python -m together_flows.emulator",
        description="The Together API on localhost. Nothing is real or billed.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one and prints it")
    parser.add_argument("--speed", type=float, default=1.0, help="emulator seconds per real second (default: 1)")
    parser.add_argument("--data", help="folder in which everything outlives this process")
    parser.add_argument("--api-key", default=EMULATOR_API_KEY, help="the key to let in (default: %(default)s)")
    options = parser.parse_args()

    from together_flows.emulator.server import serve

    serve(host=options.host, port=options.port, speed=options.speed, data=options.data, api_key=options.api_key)


if __name__ == "__main__":
    main()
