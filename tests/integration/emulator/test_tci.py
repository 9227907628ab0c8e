"""The code interpreter: code really runs, sessions remember, and there is no way out of them."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from typing import Any

import httpx2
import pytest

from together_flows.emulator import Emulator, sandbox

from .account import Account


@pytest.fixture(autouse=True)
def _no_hurry(emulator: Emulator) -> None:
    """Lets sessions live for an hour and not for a second."""
    emulator.settings(speed=1)


def ask(account: Account, code: str, **request: Any) -> dict[str, Any]:
    answer = account.http.post("/tci/execute", json={"language": "python", "code": code} | request, timeout=60)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["data"] is None) != (body["errors"] is None)
    return dict(body)


def execute(account: Account, code: str, **request: Any) -> dict[str, Any]:
    """Runs code, where the system lets the emulator lock it in."""
    body = ask(account, code, **request)
    if body["errors"] and "only in a sandbox" in body["errors"][0]:
        pytest.skip(body["errors"][0])
    return body


def outputs(account: Account, code: str, **request: Any) -> list[dict[str, Any]]:
    body = execute(account, code, **request)
    assert body["errors"] is None, body
    assert body["data"]["status"] == "success"
    return list(body["data"]["outputs"])


def printed(account: Account, code: str, **request: Any) -> str:
    return "".join(output["data"] for output in outputs(account, code, **request) if output["type"] == "stdout")


def test_code_runs_and_everything_it_puts_out_comes_back_in_order(account: Account) -> None:
    code = "import sys\nprint('one')\nprint('two')\nprint('oh', file=sys.stderr)\nprint('three')\n[6 * 7]"

    assert outputs(account, code) == [
        {"type": "stdout", "data": "one\ntwo\n"},
        {"type": "stderr", "data": "oh\n"},
        {"type": "stdout", "data": "three\n"},
        {"type": "execute_result", "data": {"text/plain": "[42]"}},
    ]


def test_an_exception_is_an_output_and_the_session_goes_on(account: Account) -> None:
    session = execute(account, "x = 1\nprint('before')\n1 / 0")["data"]
    before, error = session["outputs"]

    assert before == {"type": "stdout", "data": "before\n"}
    assert error["type"] == "error"
    assert error["data"].startswith("Traceback")
    assert error["data"].endswith("ZeroDivisionError: division by zero\n")
    assert "sandbox" not in error["data"]
    assert printed(account, "print(x)", session_id=session["session_id"]) == "1\n"
    assert outputs(account, "def broken(")[0]["data"].strip().startswith("File")
    assert outputs(account, "raise SystemExit(3)")[0]["data"].endswith("SystemExit: 3\n")


def test_a_session_remembers_and_others_do_not_know(account: Account) -> None:
    first = execute(account, "import math\nnumber = math.factorial(20)")["data"]["session_id"]
    second = execute(account, "pass")["data"]["session_id"]

    assert printed(account, "print(number)", session_id=first) == "2432902008176640000\n"
    assert "NameError" in outputs(account, "number", session_id=second)[0]["data"]


def test_files_are_there_before_the_code_runs_and_stay(account: Account) -> None:
    files = [
        {"name": "data/rows.csv", "encoding": "string", "content": "a,b\n1,2\n"},
        {"name": "raw.bin", "encoding": "base64", "content": base64.b64encode(bytes(range(256))).decode()},
    ]
    code = "print(open('data/rows.csv').read(), end='')\nprint(len(open('raw.bin', 'rb').read()))"
    body = execute(account, code, files=files)["data"]

    assert body["outputs"] == [{"type": "stdout", "data": "a,b\n1,2\n256\n"}]
    again = printed(account, "import os\nprint(sorted(os.listdir()))", session_id=body["session_id"])
    assert again == "['data', 'raw.bin']\n"


def test_sessions_are_listed_with_their_use(account: Account) -> None:
    session = execute(account, "1")["data"]["session_id"]
    execute(account, "2", session_id=session)
    (row,) = account.get("/tci/sessions")["data"]["sessions"]

    assert (row["id"], row["execute_count"]) == (session, 2)
    assert row["started_at"] <= row["last_execute_at"] < row["expires_at"]


def test_an_unknown_or_expired_session_is_an_error_in_the_answer(account: Account) -> None:
    session = execute(account, "1")["data"]["session_id"]
    account.emulator.settings(speed=1_000_000)
    account.until("/tci/sessions", lambda answer: not answer["data"]["sessions"])

    for known in (session, "ses_none"):
        assert "does not exist, or it has expired" in execute(account, "1", session_id=known)["errors"][0]


@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd')",
        "import os; os.listdir('/proc')",
        "import os; os.kill(os.getppid() or 1 << 20, 0)",
        "import os; os.chroot('.')",
        "import os; os.mkdir('in'); os.chroot('in')",
        "import socket",
        "import subprocess",
        "import ctypes",
        "import os; os.fork()",
    ],
)
def test_code_reaches_nothing_outside(account: Account, code: str) -> None:
    error = outputs(account, code)[-1]

    assert error["type"] == "error"
    assert any(
        word in error["data"]
        for word in (
            "FileNotFoundError",
            "PermissionError",
            "ModuleNotFoundError",
            "ProcessLookupError",
            "BlockingIOError",
        )
    )


def test_code_sees_no_network_no_process_and_no_environment(account: Account) -> None:
    code = """
import os, sys
_socket = sys.modules.get("_socket")
print(dict(os.environ))
print(os.getpid())
print([name for name in os.listdir("/")])
print(os.path.realpath("."))
"""
    environment, process, root, place = printed(account, code).splitlines()

    assert "TOGETHER" not in environment
    assert "PATH" not in environment
    assert (process, root, place) == ("1", "[]", "/")


def test_code_that_wants_too_much_ends_its_session(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "WALL_SECONDS", 0.5)
    session = execute(account, "1")["data"]["session_id"]
    endless = execute(account, "while True: pass", session_id=session)
    after = execute(account, "1", session_id=session)
    greedy = outputs(account, "x = bytearray(2**30)")

    assert "took longer than 0.5 s" in endless["errors"][0]
    assert "does not exist" in after["errors"][0]
    assert greedy[0]["data"].endswith("MemoryError\n")


def test_files_and_output_have_bounds(account: Account) -> None:
    assert "OSError" in outputs(account, "open('big', 'wb').write(bytes(17 * 2**20))")[0]["data"]
    assert len(printed(account, "for _ in range(300): print('x' * 9_999)")) == 2**20


def processes_in(folder: Path) -> set[Path]:
    """The processes that work in a folder."""
    found = set()
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdecimal() and (process / "cwd").readlink().is_relative_to(folder):
                found.add(process)
    return found


def test_no_process_and_no_folder_is_left_behind(tmp_path: Path) -> None:
    with Emulator(data=tmp_path) as emulator:
        account = Account(emulator)
        execute(account, "open('file', 'w').write('x')")
        running = processes_in(tmp_path)
        folders = [path.name for path in tmp_path.rglob("ses_*/*")]
        account.close()

    assert running
    assert folders == ["file"]
    assert not processes_in(tmp_path)
    assert not list(tmp_path.rglob("ses_*"))


def test_code_is_refused_where_it_cannot_be_locked_in(
    account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    open_door = tmp_path / "child.py"
    open_door.write_text('print(\'{"errors": ["Operation not permitted"]}\')')
    monkeypatch.setattr(sandbox, "_CHILD", open_door)

    (refusal,) = ask(account, "print('hello')")["errors"]

    assert "only in a sandbox" in refusal
    assert "Operation not permitted" in refusal
    assert account.get("/tci/sessions")["data"]["sessions"] == []


@pytest.mark.parametrize(
    "request_",
    [
        {"language": "ruby"},
        {"code": None},
        {"files": [{"name": "../up", "encoding": "string", "content": ""}]},
        {"files": [{"name": "/etc/x", "encoding": "string", "content": ""}]},
        {"files": [{"name": "a", "encoding": "base64", "content": "%%%"}]},
        {"files": [{"name": "a", "encoding": "rot13", "content": ""}]},
    ],
)
def test_a_request_that_cannot_be_is_refused_in_the_groups_own_body(account: Account, request_: dict[str, Any]) -> None:
    answer = account.http.post("/tci/execute", json={"language": "python", "code": "1"} | request_)

    assert answer.status_code == 400
    assert answer.json()["data"] is None
    assert len(answer.json()["errors"]) == 1


def test_a_wrong_key_is_refused_before_anything_runs(account: Account) -> None:
    answer: httpx2.Response = account.bare.post(
        f"{account.emulator.url}/tci/execute", json={"language": "python", "code": "1"}
    )

    assert answer.status_code == 401
    assert answer.json()["errors"]
