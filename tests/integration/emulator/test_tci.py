"""The code interpreter: code really runs, sessions remember, and there is no way out of them."""

from __future__ import annotations

import base64
import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from together_flows.emulator import Emulator, EmulatorProcess, sandbox

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


def test_code_sees_no_network_no_process_and_no_environment(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "a-key-that-is-worth-money")
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
    session = execute(account, "1")["data"]["session_id"]
    with monkeypatch.context() as impatient:
        impatient.setattr(sandbox, "WALL_SECONDS", 0.5)
        endless = execute(account, "while True: pass", session_id=session)
    after = execute(account, "1", session_id=session)
    greedy = outputs(account, "x = bytearray(2**30)")

    assert "took longer than 0.5 s" in endless["errors"][0]
    assert "does not exist" in after["errors"][0]
    assert greedy[0]["data"].endswith("MemoryError\n")


def test_files_and_output_have_bounds(account: Account) -> None:
    assert "OSError" in outputs(account, "open('big', 'wb').write(bytes(17 * 2**20))")[0]["data"]
    assert len(printed(account, "for _ in range(300): print('x' * 9_999)")) == 2**20


@pytest.mark.parametrize(
    "code",
    [
        "for n in range(40): open(str(n), 'wb').write(bytes(2**20))",
        "for n in range(5_000): open(str(n), 'wb').close()",
    ],
)
def test_the_folder_of_a_session_has_bounds_and_takes_nothing_from_the_disk(
    account: Account, code: str, tmp_path: Path
) -> None:
    with Emulator(data=tmp_path) as emulator:
        emulator.settings(speed=1)
        keeping = Account(emulator)
        body = execute(keeping, f"open('kept', 'w').write('x')\n{code}")["data"]
        names = {path.name for path in tmp_path.rglob("*")}
        again = outputs(keeping, "open('kept').read()", session_id=body["session_id"])
        keeping.close()

    assert "No space left on device" in body["outputs"][-1]["data"]
    assert again == [{"type": "execute_result", "data": {"text/plain": "'x'"}}]
    assert not {"kept", "0", "1"} & names


def test_code_that_finds_the_way_to_the_system_gets_nothing_more_from_it(account: Account) -> None:
    code = """
import gc
(ctypes,) = [o for o in gc.get_objects() if type(o) is type(gc) and o.__name__ == "ctypes"]
libc = ctypes.CDLL(None, use_errno=True)
calls = {
    "unshare": (0x10000000,),
    "chroot": (b"/",),
    "mount": (b"proc", b"/", b"proc", 0, None),
    "setuid": (0,),
    "fork": (),
}
for name, arguments in calls.items():
    print(name, getattr(libc, name)(*arguments))
"""
    assert printed(account, code).splitlines() == ["unshare -1", "chroot -1", "mount -1", "setuid -1", "fork -1"]


#: Code that goes on at the end of the reply, when nobody waits for it.
STALLING = """
import sys, time
def stall(frame, event, argument):
    if event == "return" and frame.f_code.co_name == "reply":
        time.sleep(1_000)
sys.setprofile(stall)
"""


def test_a_session_that_does_not_listen_any_more_is_ended(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    session = execute(account, STALLING)["data"]["session_id"]
    monkeypatch.setattr(sandbox, "WALL_SECONDS", 0.5)
    longer_than_a_pipe = "#" * 2**20

    assert "took longer than 0.5 s" in execute(account, longer_than_a_pipe, session_id=session)["errors"][0]


@pytest.mark.parametrize(
    "forged",
    [
        "b'x' * 2**12",
        "b'5' + bytes([10])",
        "b'{\"outputs\": 5}' + bytes([10])",
    ],
)
def test_code_that_speaks_for_its_session_ends_it_and_nothing_else(
    account: Account, monkeypatch: pytest.MonkeyPatch, forged: str
) -> None:
    monkeypatch.setattr(sandbox, "MAX_REPLY", 2**10)
    code = f"import os\nos.write(4, {forged})\nos._exit(0)"

    assert "ended its process" in execute(account, code)["errors"][0]
    assert printed(account, "print(1)") == "1\n"


def test_what_cannot_be_shown_is_shown_as_well_as_it_can(account: Account) -> None:
    session = execute(account, r"print('a\ud800b')")["data"]

    assert session["outputs"] == [{"type": "stdout", "data": "a?b\n"}]
    code = "import sys\nprint(sys.stdout.encoding)\nsys.stdout.write(b'bytes')"
    encoding, error = outputs(account, code, session_id=session["session_id"])
    assert encoding["data"] == "utf-8\n"
    assert error["data"].endswith("TypeError: write() argument must be str, not bytes\n")


def test_the_session_that_was_idle_for_longest_makes_room_for_a_new_one(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "MAX_SESSIONS", 2)
    first, second = (execute(account, "x = 1")["data"]["session_id"] for _ in range(2))
    execute(account, "x", session_id=first)
    third = execute(account, "x = 1")["data"]["session_id"]

    assert {row["id"] for row in account.get("/tci/sessions")["data"]["sessions"]} == {first, third}
    assert "does not exist" in execute(account, "x", session_id=second)["errors"][0]


def sandbox_processes() -> set[int]:
    """The processes of sandboxes that this process has started, or that a process has which it has started."""
    above, sandboxed = {}, set()
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdecimal():
                process = int(folder.name)
                above[process] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if b"sandbox_child" in (folder / "cmdline").read_bytes():
                    sandboxed.add(process)

    def ours(process: int) -> bool:
        return process == os.getpid() or (process in above and ours(above[process]))

    return {process for process in sandboxed if ours(process)}


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_process_is_left_behind() -> None:
    before = sandbox_processes()
    with Emulator() as emulator:
        account = Account(emulator)
        execute(account, "1")
        running = sandbox_processes() - before
        account.close()

    assert len(running) == 2
    assert not sandbox_processes() & running


def test_code_does_not_outlive_an_emulator_that_was_killed(account: Account) -> None:
    execute(account, "1")  # shows that code can be run here at all
    before = sandbox_processes()
    with EmulatorProcess() as emulator, httpx2.Client(headers={"Authorization": f"Bearer {emulator.api_key}"}) as http:
        url, code = f"{emulator.url}/tci/execute", "import time; time.sleep(10_000)"
        asking = threading.Thread(target=asked_in_vain, args=(http, url, code))
        asking.start()
        wait_until(lambda: len(sandbox_processes() - before) == 2)
        running = sandbox_processes() - before
        emulator.kill()
        asking.join()

        wait_until(lambda: not any(Path(f"/proc/{process}").exists() for process in running))


def asked_in_vain(http: httpx2.Client, url: str, code: str) -> None:
    with contextlib.suppress(httpx2.TransportError):
        http.post(url, json={"language": "python", "code": code}, timeout=60)


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
