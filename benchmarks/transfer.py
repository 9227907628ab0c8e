"""How fast and how lean files move: this package beside the standard library, over the loopback, in one run.

    python benchmarks/transfer.py --size 1G
    python benchmarks/transfer.py --size 256M --check

Each contender runs in a process of its own, against a server in another, which does nothing with the bytes. CPU seconds
and memory are the contender's alone; imports count as memory, not as CPU. On a shared machine compare the ratios: even
the CPU seconds of `http.client` vary tenfold. "writing alone" is what a download costs without any network.

With `--check` the run fails when this package breaks its budget: 80 MB of memory, and twice the CPU of `urllib` besides
the checksum and the making of the client.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import importlib
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from urllib.parse import urlsplit

BLOCK = 1024 * 1024
GIB = 1024**3

MEMORY_BUDGET = 80.0  # MB
CPU_RATIO = 2.0  # times urllib's
CPU_START = 0.2  # seconds that making the first client of a process takes

NO_CHECKSUM = "0" * 64  # a given checksum is not computed

Contender = Callable[[str, Path, Path], None]


# The server: it reads and writes as fast as the kernel lets it, so that the contender is what is measured.


def serve(size: int, content: str) -> None:
    """Answer as the API of files does, one thread a connection, until killed."""
    import threading

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        print(listening.getsockname()[1], flush=True)
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_converse, args=(connection, size, content), daemon=True).start()


def _converse(connection: socket.socket, size: int, content: str) -> None:
    buffer = bytearray(BLOCK)
    with connection, contextlib.suppress(ConnectionError), connection.makefile("rb") as reader:
        while line := reader.readline():
            method, path, _ = line.decode().split(" ", 2)
            _swallow(reader, _length_of_body(reader), buffer)
            if path.endswith("/content"):
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
                with Path(content).open("rb") as file:
                    connection.sendfile(file)
            elif method == "POST" and path == "/v1/files":
                head = "HTTP/1.1 302 Found\r\nLocation: /put\r\nX-Together-File-Id: file-1\r\nContent-Length: 0\r\n\r\n"
                connection.sendall(head.encode())
            else:
                body = b'{"id": "file-1"}'
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def _length_of_body(reader: BufferedReader) -> int:
    return int(http.client.parse_headers(reader).get("content-length", 0))


def _swallow(reader: BufferedReader, length: int, buffer: bytearray) -> None:
    view = memoryview(buffer)
    while length > 0 and (count := reader.readinto(view[: min(length, len(buffer))])):
        length -= count


# The contenders: each moves one file and ends.


def ours_up(url: str, source: Path, target: Path) -> None:
    from together_flows import Together

    with Together(api_key="key-123456", base_url=url) as client:
        client.upload(source, purpose="fine-tune", checksum=NO_CHECKSUM)


def ours_up_with_checksum(url: str, source: Path, target: Path) -> None:
    from together_flows import Together

    with Together(api_key="key-123456", base_url=url) as client:
        client.upload(source, purpose="fine-tune")


def ours_up_async(url: str, source: Path, target: Path) -> None:
    from together_flows import AsyncTogether

    async def main() -> None:
        async with AsyncTogether(api_key="key-123456", base_url=url) as client:
            await client.upload(source, purpose="fine-tune", checksum=NO_CHECKSUM)

    asyncio.run(main())


def urllib_up(url: str, source: Path, target: Path) -> None:
    with source.open("rb") as file:
        headers = {"Content-Length": str(source.stat().st_size), "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{url}/put", data=file, method="PUT", headers=headers)
        with urllib.request.urlopen(request) as answer:
            answer.read()


def http_client_up(url: str, source: Path, target: Path) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, blocksize=BLOCK)
    with source.open("rb") as file:
        connection.request("PUT", "/put", body=file, headers={"Content-Length": str(source.stat().st_size)})
        connection.getresponse().read()
    connection.close()


def ours_down(url: str, source: Path, target: Path) -> None:
    from together_flows import Together
    from together_flows.api import files

    with Together(api_key="key-123456", base_url=url) as client:
        client.download(files.content("file-1"), target)


def ours_down_async(url: str, source: Path, target: Path) -> None:
    from together_flows import AsyncTogether
    from together_flows.api import files

    async def main() -> None:
        async with AsyncTogether(api_key="key-123456", base_url=url) as client:
            await client.download(files.content("file-1"), target)

    asyncio.run(main())


def urllib_down(url: str, source: Path, target: Path) -> None:
    with urllib.request.urlopen(f"{url}/v1/files/file-1/content") as answer, target.open("wb") as file:
        shutil.copyfileobj(answer, file)


def http_client_down(url: str, source: Path, target: Path) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", "/v1/files/file-1/content")
    answer = connection.getresponse()
    view = memoryview(bytearray(BLOCK))
    with target.open("wb", buffering=0) as file:
        while count := answer.readinto(view):
            file.write(view[:count])
    connection.close()


def writing_alone(url: str, source: Path, target: Path) -> None:
    block, left = bytes(64 * 1024), source.stat().st_size
    with target.open("wb") as file:
        while left > 0:
            left -= file.write(block[:left])


CONTENDERS: dict[str, Contender] = {
    "up    together-flows": ours_up,
    "up    together-flows, async": ours_up_async,
    "up    together-flows, with checksum": ours_up_with_checksum,
    "up    urllib": urllib_up,
    "up    http.client, 1 MiB blocks": http_client_up,
    "down  together-flows": ours_down,
    "down  together-flows, async": ours_down_async,
    "down  urllib": urllib_down,
    "down  http.client, readinto": http_client_down,
    "down  writing alone": writing_alone,
}


# The measuring.


def measure_one(name: str, url: str, source: Path, target: Path) -> None:
    """In a process of its own: run a contender and print what it took."""
    if "together-flows" in name:
        importlib.import_module("together_flows.client._async")
    started, cpu = time.perf_counter(), time.process_time()
    CONTENDERS[name](url, source, target)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"wall": wall, "cpu": cpu, "memory": memory}))


def measured(name: str, url: str, source: Path, target: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", name, "--url", url, "--source", str(source), "--target", str(target)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    if name.startswith("down") and target.stat().st_size != source.stat().st_size:
        raise RuntimeError(f"{name}: only a part arrived")
    target.unlink(missing_ok=True)
    result: dict[str, float] = json.loads(run.stdout)
    return result


@contextlib.contextmanager
def running_server(source: Path) -> Iterator[str]:
    command = [sys.executable, __file__, "--serve", "--size", str(source.stat().st_size), "--source", str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def rows_of(path: Path, size: int) -> Path:
    """A file of that many bytes."""
    line = os.urandom(BLOCK // 2).hex().encode()
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(line[: size - file.tell()])
    return path


def compare(size: int, rounds: int, folder: str | None, only: str) -> dict[str, dict[str, float]]:
    """The median of each contender, the contenders taking turns."""
    chosen = [name for name in CONTENDERS if name.startswith(only)]
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        source, target = rows_of(Path(temporary) / "rows.jsonl", size), Path(temporary) / "target"
        with running_server(source) as url:
            runs = [{name: measured(name, url, source, target) for name in chosen} for _ in range(rounds)]
    return {
        name: {key: statistics.median(run[name][key] for run in runs) for key in ("wall", "cpu", "memory")}
        for name in chosen
    }


def show(results: dict[str, dict[str, float]], size: int) -> None:
    print(f"{size / GIB:.2f} GiB; CPU and memory of the contender alone\n")
    print(f"| {'contender':38} | CPU s/GiB | CPU, urllib = 1 | peak MB | MB/s |")
    print(f"|{'-' * 40}|-----------|-----------------|---------|------|")
    for name, result in results.items():
        ratio = result["cpu"] / results[_peer(name)]["cpu"]
        print(
            f"| {name:38} | {result['cpu'] * GIB / size:9.2f} | {ratio:15.2f} |"
            f" {result['memory']:7.0f} | {size / result['wall'] / 1e6:4.0f} |"
        )


def broken_budgets(results: dict[str, dict[str, float]]) -> list[str]:
    broken = []
    for name, result in results.items():
        if "together-flows" not in name:
            continue
        if result["memory"] > MEMORY_BUDGET:
            broken.append(f"{name}: {result['memory']:.0f} MB of memory, allowed are {MEMORY_BUDGET:.0f}")
        if "checksum" not in name and result["cpu"] > CPU_RATIO * results[_peer(name)]["cpu"] + CPU_START:
            broken.append(f"{name}: more than {CPU_RATIO:.0f} times the CPU of urllib")
    return broken


def _peer(name: str) -> str:
    return f"{name[:6]}urllib"


def bytes_of(text: str) -> int:
    """`"256M"` as a number."""
    units = {"K": 1024, "M": 1024**2, "G": GIB}
    return int(float(text[:-1]) * units[text[-1].upper()]) if text[-1].isalpha() else int(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=bytes_of, default="1G", help="bytes of the file, such as 256M or 1G")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender runs; the median is shown")
    parser.add_argument("--folder", help="where the files lie, such as /dev/shm to leave the disk out")
    parser.add_argument("--only", default="", choices=["up", "down"], help="measure one direction")
    parser.add_argument("--check", action="store_true", help="fail when a budget is broken")
    for hidden in ("--one", "--url", "--source", "--target"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.size, given.source)
    if given.one:
        measure_one(given.one, given.url, Path(given.source), Path(given.target))
        return 0
    results = compare(given.size, given.rounds, given.folder, given.only)
    show(results, given.size)
    broken = broken_budgets(results) if given.check else []
    print("\n".join(broken), file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
