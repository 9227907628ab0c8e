"""The inside of a code interpreter session: it locks itself in, then runs what it is sent.

This file is run as a program by an interpreter of its own, never imported. It first gives everything up: other
processes, the network, the file system but for its own folder, and every privilege. Where the system does not let it,
it says so and runs nothing. Requests and replies are lines of JSON on the pipes that it was started with.
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
import signal
import sys
import traceback
from types import TracebackType
from typing import Any

LIBRARY = """
abc array ast base64 bisect calendar cmath collections collections.abc colorsys contextlib copy csv dataclasses
datetime decimal difflib encodings.ascii encodings.cp1252 encodings.idna encodings.latin_1 encodings.unicode_escape
encodings.utf_16 enum fractions functools graphlib hashlib heapq hmac html html.parser inspect io itertools json keyword
math numbers operator os pathlib pprint random re secrets shutil sqlite3 statistics string struct sys tempfile textwrap
time traceback types typing unicodedata uuid xml.etree.ElementTree zlib
"""
"""What code can import. Nothing else can be loaded once the file system is out of reach."""

CLONE_FLAGS = 0x10000000 | 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000
"""New namespaces for users, processes, the network, inter-process communication and the host's name."""

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
CAPABILITY_VERSION = 0x20080522

NOBODY = 65534

LIMITS = {
    resource.RLIMIT_CPU: 60,
    resource.RLIMIT_AS: 512 * 2**20,
    resource.RLIMIT_FSIZE: 16 * 2**20,
    resource.RLIMIT_NOFILE: 64,
    resource.RLIMIT_NPROC: 0,
    resource.RLIMIT_CORE: 0,
}

MAX_OUTPUT = 2**20
"""Characters of output that are kept of one execution."""


def lock_in() -> None:
    """Gives up everything that the code must not have. The caller is cut off from the rest of the system after it.

    Raises:
        OSError: the system does not allow it.
        AttributeError: the system knows no namespaces.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:  # root is exempt from the limit on processes
        os.chown(".", NOBODY, NOBODY)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    checked(libc.unshare(CLONE_FLAGS))
    inner = os.fork()
    if inner:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(inner, signal.SIGKILL))
        os.waitpid(inner, 0)
        os._exit(0)
    checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    os.chroot(".")
    os.chdir("/")
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    checked(libc.capset((ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()))
    for limit, value in LIMITS.items():
        resource.setrlimit(limit, (value, value))


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

    def write(self, text: str) -> int:
        room = MAX_OUTPUT - sum(len(str(output["data"])) for output in self.outputs)
        kept = text[: max(0, room)]
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
                outputs.append({"type": "execute_result", "data": {"text/plain": repr(value)[:MAX_OUTPUT]}})
    except BaseException as error:
        error.__traceback__ = of_the_code(error.__traceback__)
        outputs.append({"type": "error", "data": "".join(traceback.format_exception(error))[:MAX_OUTPUT]})
    finally:
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    return outputs


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
        lock_in()
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
