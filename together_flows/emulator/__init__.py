"""The Together API on localhost, for trying things out and for tests: no account, no network, no bill.

    from together_flows.emulator import EMULATOR_API_KEY, Emulator

    with Emulator(speed=60) as emulator:
        client = Together(base_url=emulator.url, api_key=EMULATOR_API_KEY)

`EmulatorProcess` is the same in a process of its own. It needs the extra `emulator`; importing this package does not.
"""

from __future__ import annotations

from together_flows.emulator.instance import EMULATOR_API_KEY, Emulator
from together_flows.emulator.process import EmulatorProcess

__all__ = ["EMULATOR_API_KEY", "Emulator", "EmulatorProcess"]
