"""The inside of a code interpreter session: it locks itself in, then runs what it is sent.

This file is run as a program by an interpreter of its own, never imported. It first gives everything up: other
processes, the network, the file system but for a folder in memory, and every privilege. Where the system does not let
it, it says so and runs nothing. Requests and replies are lines of JSON on the pipes that it was started with.
"""

import ast
import base64
import ctypes
import importlib
import io
import json
import os
import pathlib
import resource
import select
import signal
import sys
import traceback
from types import TracebackType
from typing import Any, NoReturn

LIBRARY = """
abc array ast base64 bisect calendar cmath collections collections.abc colorsys contextlib copy csv dataclasses
datetime decimal difflib encodings.ascii encodings.cp1252 encodings.idna encodings.latin_1 encodings.unicode_escape
encodings.utf_16 enum fractions functools graphlib hashlib heapq hmac html html.parser inspect io itertools json keyword
math numbers operator os pathlib pprint random re secrets shutil sqlite3 statistics string struct sys tempfile textwrap
time traceback types typing unicodedata uuid xml.etree.ElementTree zlib
"""
"""What code can import. Nothing else can be loaded once the file system is out of reach."""

CLONE_FLAGS = 0x10000000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000 | 0x00020000
"""New namespaces for users, processes, the network, inter-process communication, the host's name and mounts."""

MOUNT_FLAGS = 2 | 4 | 8
"""No set-user-id programs, no devices, no programs at all."""

FOLDER = b"/proc"
"""Where the folder of the session is put. It must be there, and nobody outside sees that it is covered."""

FOLDER_LIMITS = b"size=32m,nr_inodes=4096,mode=700"
"""The folder lies in memory: its files cannot fill the disk, and they end with the session."""

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
CAPABILITY_VERSION = 0x20080522

NOBODY = 65534

LIMITS = {
    resource.RLIMIT_CPU: 60,
    resource.RLIMIT_AS: 384 * 2**20,
    resource.RLIMIT_FSIZE: 16 * 2**20,
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_CORE: 0,
}

MAX_OUTPUT = 2**20
"""Characters of output that are kept of one execution."""


def lock_in(requests: int) -> None:
    """Gives up everything that the code must not have. The caller is cut off from the rest of the system after it.

    Args:
        requests: descriptor of the pipe that requests come through; who waits outside sees by it when they have ended.

    Raises:
        OSError: the system does not allow it.
        AttributeError: the system knows no namespaces.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:  # root is exempt from the limit on processes
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        checked(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))  # who has changed its user may not write its own maps
    user, group = os.geteuid(), os.getegid()
    checked(libc.unshare(CLONE_FLAGS))
    map_ids(user, group)
    inner = os.fork()
    if inner:
        outlive(inner, requests)
    checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    checked(libc.mount(b"tmpfs", FOLDER, b"tmpfs", MOUNT_FLAGS, FOLDER_LIMITS))
    os.chroot(FOLDER)
    os.chdir("/")
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    checked(libc.capset((ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()))
    for limit, value in LIMITS.items():
        resource.setrlimit(limit, (value, value))


def map_ids(user: int, group: int) -> None:
    """Lets the process be in its namespace who it is outside: files can only be made by somebody who is known."""
    for name, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        pathlib.Path("/proc/self", name).write_text(line)


def outlive(inner: int, requests: int) -> NoReturn:
    """Waits for the inner process to end, or for the emulator to end it or to be gone, and buries it."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(inner, signal.SIGKILL))
    either = select.poll()
    either.register(os.pidfd_open(inner), select.POLLIN)
    either.register(requests, 0)  # tells when nobody is left who could write to it
    either.poll()
    os.kill(inner, signal.SIGKILL)
    os.waitpid(inner, 0)
    os._exit(0)


def checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Recorder(io.TextIOBase):
    """Standard output or error of the code.

    Args:
        kind: which of the two.
        outputs: where it is recorded, in the order of writing.
    """

    def __init__(self, kind: str, outputs: list[dict[str, Any]]) -> None:
        super().__init__()
        self.kind = kind
        self.outputs = outputs

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override] # a fixed answer to a question that print-like code asks
        return "utf-8"

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        room = MAX_OUTPUT - sum(len(str(output["data"])) for output in self.outputs)
        kept = shown(text[: max(0, room)])
        if self.outputs and self.outputs[-1]["type"] == self.kind:
            self.outputs[-1]["data"] += kept
        elif kept:
            self.outputs.append({"type": self.kind, "data": kept})
        return len(text)


def run(code: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs code and returns what it put out; the value of a last expression is its result."""
    outputs: list[dict[str, Any]] = []
    sys.stdout, sys.stderr = Recorder("stdout", outputs), Recorder("stderr", outputs)
    try:
        tree = ast.parse(code, "<code>")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "<code>", "exec"), names)  # noqa: S102 - what this program is for
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<code>", "eval"), names)  # noqa: S307 - see above
            if value is not None:
                outputs.append({"type": "execute_result", "data": {"text/plain": shown(repr(value))}})
    except BaseException as error:
        error.__traceback__ = of_the_code(error.__traceback__)
        outputs.append({"type": "error", "data": shown("".join(traceback.format_exception(error)))})
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    return outputs


def shown(text: str) -> str:
    """As much of a text as is kept, without the lone surrogates that no answer can hold."""
    return text[:MAX_OUTPUT].encode("utf-8", "replace").decode()


def of_the_code(trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that begins in the code."""
    while trace is not None and trace.tb_frame.f_code.co_filename != "<code>":
        trace = trace.tb_next
    return trace


def put(file: dict[str, str]) -> None:
    """Writes a file of a request."""
    content = base64.b64decode(file["content"]) if file["encoding"] == "base64" else file["content"].encode()
    path = pathlib.Path("/", file["name"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def handle(request: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    try:
        for file in request["files"]:
            put(file)
    except (OSError, ValueError) as error:
        return {"errors": [f"A file could not be written: {error}"]}
    return {"outputs": run(request["code"], names)}


def main() -> None:
    requests, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)

    def reply(value: dict[str, Any]) -> None:
        replies.write(json.dumps(value) + "\n")
        replies.flush()

    for name in LIBRARY.split():
        importlib.import_module(name)
    try:
        lock_in(requests.fileno())
    except (OSError, AttributeError) as error:
        reply({"errors": [str(error)]})
        return
    reply({})
    for name in ("ctypes", "_ctypes"):
        del sys.modules[name]
    names: dict[str, Any] = {"__name__": "__main__"}
    for line in requests:
        reply(handle(json.loads(line), names))


if __name__ == "__main__":
    main()
