"""Code interpreter sessions: each is an interpreter of its own, locked into an empty folder that lies in memory.

Code runs only where the system can lock it in: with namespaces for users, processes and the network, as Linux has
them. Anywhere else it is refused, for an emulator must not become a way into the machine that it runs on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from together_flows.emulator.world import World

__all__ = ["CodeRefused", "Sandbox", "Sandboxes", "sandboxes"]

WALL_SECONDS = 20.0
"""Real seconds that one execution may take."""

IDLE_SECONDS = 3600.0
"""Emulator seconds after which an unused session expires."""

MAX_SESSIONS = 16
"""Sessions at a time. One more takes the place of the one that was idle for longest."""

MAX_REPLY = 32 * 2**20
"""Bytes of one reply that are read, so that code which writes to the pipe itself cannot fill the memory."""

_FAREWELL_SECONDS = 5.0

_CHILD = Path(__file__).with_name("sandbox_child.py")


class CodeRefused(Exception):
    """Code was not run, or not to its end.

    Args:
        reason: why, for the one who sent it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Reply(msgspec.Struct):
    """What the inside of a session says of a request."""

    outputs: list[dict[str, Any]] = []
    errors: list[str] = []


class Sandbox:
    """One session, with its process.

    Args:
        now: the moment of its start, in emulator seconds.
    """

    def __init__(self, now: float) -> None:
        self.id = f"ses_{uuid.uuid4().hex[:16]}"
        self.started = self.used = now
        self.executions = 0
        self._turn = threading.Lock()
        self._process = self._start()

    @property
    def expires(self) -> float:
        return self.used + IDLE_SECONDS

    def run(self, code: str, files: list[dict[str, str]]) -> list[dict[str, Any]]:
        """Runs code after writing files; blocks until it has ended.

        Raises:
            CodeRefused: it took too long, or the session broke down; either way the session is over.
        """
        with self._turn:
            reply = self._ask({"code": code, "files": files})
            self.executions += 1
        if reply.errors:
            raise CodeRefused(reply.errors[0])
        return reply.outputs

    def end(self) -> None:
        """Kills the process, and with it ends the folder."""
        self._kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def over(self) -> bool:
        """Whether its process has ended."""
        return self._process.poll() is not None

    @property
    def busy(self) -> bool:
        """Whether code runs in it."""
        return self._turn.locked()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own program, no argument from outside
            [sys.executable, "-I", "-B", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={},
            start_new_session=True,
        )

    def lock_in(self) -> None:
        """Waits until the process has locked itself in.

        Raises:
            CodeRefused: the system does not let it.
        """
        reply = self._ask(None)
        if reply.errors:
            raise CodeRefused(
                "This emulator runs code only in a sandbox of Linux namespaces, which this system does not allow: "
                f"{reply.errors[0]}."
            )

    def _ask(self, request: dict[str, Any] | None) -> Reply:
        """Sends a request, or nothing where the process speaks first, and waits for the reply."""
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        alarm = threading.Timer(WALL_SECONDS, self._process.terminate)
        alarm.start()
        try:
            if request is not None:
                requests.write(msgspec.json.encode(request) + b"\n")
                requests.flush()
            return msgspec.json.decode(replies.readline(MAX_REPLY), type=Reply)
        except (OSError, ValueError, msgspec.MsgspecError):  # the pipe broke or was closed, or what came is no reply
            timely = alarm.is_alive()
        finally:
            alarm.cancel()
        self._kill()
        what = "ended its process, or used up its memory or processor time"
        raise CodeRefused(
            f"The code {what if timely else f'took longer than {WALL_SECONDS:g} s'}; the session has ended."
        )

    def _kill(self) -> None:
        """Ends the process: its outer half kills and buries the inner one before it goes itself."""
        self._process.terminate()
        try:
            self._process.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Sandboxes:
    """The sessions of one emulator."""

    def __init__(self, world: World) -> None:
        self._clock = world.clock
        self._sessions: dict[str, Sandbox] = {}
        self._starting = threading.Lock()
        world.at_end(self.end_all)

    def new(self) -> Sandbox:
        """A new session, locked in; blocks for as long as an interpreter needs to start.

        Raises:
            CodeRefused: the system does not allow it, or code runs in as many sessions as there may be.
        """
        with self._starting:
            self._make_room()
            sandbox = Sandbox(self._clock.now())
            try:
                sandbox.lock_in()
            except CodeRefused:
                sandbox.end()
                raise
            self._sessions[sandbox.id] = sandbox
        return sandbox

    def get(self, session_id: str) -> Sandbox:
        """The session of this id.

        Raises:
            CodeRefused: there is none, or it has expired.
        """
        self._sweep()
        sandbox = self._sessions.get(session_id)
        if sandbox is None:
            raise CodeRefused(f"Session {session_id} does not exist, or it has expired.")
        return sandbox

    def alive(self) -> Iterator[Sandbox]:
        """The sessions that code can be run in."""
        self._sweep()
        return iter(list(self._sessions.values()))

    def end_all(self) -> None:
        """Ends every session."""
        while self._sessions:
            self._sessions.popitem()[1].end()

    def _make_room(self) -> None:
        alive = list(self.alive())
        if len(alive) < MAX_SESSIONS:
            return
        idle = [sandbox for sandbox in alive if not sandbox.busy]
        if not idle:
            raise CodeRefused(f"Code runs in {MAX_SESSIONS} sessions already; wait for one of them.")
        longest = min(idle, key=lambda sandbox: sandbox.used)
        self._sessions.pop(longest.id, None)
        longest.end()

    def _sweep(self) -> None:
        now = self._clock.now()
        for sandbox in list(self._sessions.values()):
            if sandbox.over or sandbox.expires <= now:
                self._sessions.pop(sandbox.id, None)
                sandbox.end()


_of_worlds: WeakKeyDictionary[World, Sandboxes] = WeakKeyDictionary()


def sandboxes(world: World) -> Sandboxes:
    """The sessions of this emulator."""
    if world not in _of_worlds:
        _of_worlds[world] = Sandboxes(world)
    return _of_worlds[world]
