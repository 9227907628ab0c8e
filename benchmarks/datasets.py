"""What checking, sharding and merging cost: this package beside a plain loop over `json.loads`, in one run.

    python -m benchmarks.datasets
    python -m benchmarks.datasets --size 1G --rounds 1
    python -m benchmarks.datasets --full

Each contender runs in a process of its own; CPU seconds are those of the work alone, without imports, and memory is the
most that the process ever held. The rounds go through all contenders in turn, so that a busy machine slows them alike:
compare the ratios. `validate` checks every rule and computes the sha256 in the same pass; the loops check nothing.
Where Together's SDK is installed its `check_file` runs too; it checks that each line is an object, and hashes nothing.

`--full` shards, merges and repairs a million rows. `--check` fails when a budget is broken: 80 MB to check a file of
any size, 150 MB for a million rows, and no slower than the plain loop with a hash.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROWS = 1_000_000
CHECK_MEMORY = 80.0  # MB
FULL_MEMORY = 150.0  # MB

WORDS = ("many", "small", "words", "that", "a", "model", "reads", "and", "answers,", "until", "the", "night", "ends.")


# The work: each function runs in a process of its own.


def json_loop(path: Path) -> object:
    with path.open("rb") as stream:
        return sum(1 for line in stream if json.loads(line))


def json_loop_and_hash(path: Path) -> object:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for line in stream:
            json.loads(line)
            digest.update(line)
    return digest.hexdigest()


def hash_alone(path: Path) -> object:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sdk_check_file(path: Path) -> object:
    files = importlib.import_module("together.lib.utils.files")  # not among our dependencies
    return files.check_file(path, purpose="fine-tune")["is_check_passed"]


def validate_fine_tune(path: Path) -> object:
    return _validate(path, "fine-tune")


def validate_batch(path: Path) -> object:
    return _validate(path, "batch-api")


def validate_eval(path: Path) -> object:
    return _validate(path, "eval")


def _validate(path: Path, purpose: Any) -> object:
    from together_flows.datasets import validate

    report = validate(path, purpose=purpose)
    too_large = [problem for problem in report.problems if problem.line == 0]  # the benchmark's file may be
    assert report.problem_count == len(too_large), report.problems[:3]
    return report.rows


def shard_rows(folder: Path) -> object:
    from together_flows.datasets import BatchInput

    rows = ({"prompt": _text(number, 60), "label": number % 7} for number in range(ROWS))
    return BatchInput.from_rows(rows, folder / "batch", model="org/model", system="Be brief.", marker="bench").rows


def shard_file(folder: Path) -> object:
    from together_flows.datasets import BatchInput

    return BatchInput.from_file(folder / "rows.jsonl", folder / "batch-of-file", marker="bench").rows


def merge(folder: Path) -> object:
    from together_flows.datasets import BatchInput, merge_results

    batch = BatchInput.load(folder / "batch")
    outputs, errors = sorted(folder.glob("output-*")), sorted(folder.glob("error-*"))
    summary = merge_results(batch, outputs, errors, folder / "merged.jsonl")
    assert summary.rows == ROWS
    assert summary.succeeded + summary.failed + summary.missing == ROWS
    return f"{summary.succeeded:,} succeeded, {summary.failed:,} failed, {summary.missing:,} missing"


def repair(folder: Path) -> object:
    from together_flows.datasets import BatchInput, repair_input

    repaired = repair_input(BatchInput.load(folder / "batch"), folder / "merged.jsonl", folder / "repair")
    assert repaired is not None
    return repaired.rows


CONTENDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "json.loads loop": (json_loop, "chat.jsonl"),
    "json.loads loop + sha256": (json_loop_and_hash, "chat.jsonl"),
    "sha256 alone": (hash_alone, "chat.jsonl"),
    "SDK check_file": (sdk_check_file, "chat.jsonl"),
    "validate fine-tune": (validate_fine_tune, "chat.jsonl"),
    "validate batch-api": (validate_batch, "batch.jsonl"),
    "validate eval": (validate_eval, "eval.jsonl"),
}
STEPS: dict[str, Callable[[Path], object]] = {
    "shard rows": shard_rows,
    "shard a file": shard_file,
    "merge": merge,
    "repair": repair,
}


# The material


def make_files(folder: Path, size: int) -> None:
    """The same text as training data, as a batch and as an evaluation dataset, in lines of about 1.8 KB."""
    rows: dict[str, Callable[[int, str], object]] = {
        "chat.jsonl": lambda number, text: {
            "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text[:200]}]
        },
        "batch.jsonl": lambda number, text: _request(f"row-{number}", text),
        "eval.jsonl": lambda number, text: {"question": text, "answer": text[:200]},
    }
    for name, row in rows.items():
        written = number = 0
        with (folder / name).open("w") as stream:
            while written < size:
                written += stream.write(json.dumps(row(number, _text(number, 320))) + "\n")
                number += 1


def make_results(folder: Path) -> None:
    """Answers to all shards, out of order: one row in a hundred is an error, one in a thousand is missing."""
    from together_flows.datasets import BatchInput

    chance = random.Random(1)
    for shard in BatchInput.load(folder / "batch").shards:
        ids = [json.loads(line)["custom_id"] for line in shard.path.open("rb")]
        chance.shuffle(ids)
        output, errors = (folder / f"{kind}-{shard.path.name}" for kind in ("output", "error"))
        with output.open("w") as answers, errors.open("w") as failures:
            for custom_id in ids:
                luck = chance.random()
                if luck < 0.01:
                    failures.write(json.dumps({"custom_id": custom_id, "error": {"message": "boom"}}) + "\n")
                elif luck > 0.011:
                    answers.write(json.dumps(_answer(custom_id)) + "\n")


def _text(number: int, words: int) -> str:
    return f'{number}: "' + " ".join(WORDS[(number + place) % len(WORDS)] for place in range(words)) + '"\n'


def _request(custom_id: str, text: str) -> dict[str, Any]:
    return {"custom_id": custom_id, "body": {"model": "org/model", "messages": [{"role": "user", "content": text}]}}


def _answer(custom_id: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": "answer " * 80}
    usage = {"prompt_tokens": 70, "completion_tokens": 160, "total_tokens": 230}
    body = {"model": "org/model", "choices": [{"index": 0, "message": message}], "usage": usage}
    return {"custom_id": custom_id, "response": {"status_code": 200, "body": body}}


# The measuring


def run_apart(name: str, path: Path) -> dict[str, Any]:
    """Run one function in a fresh process; return its CPU seconds, its memory in MB and its result."""
    command = [sys.executable, "-m", "benchmarks.datasets", "--one", name, str(path)]
    answer: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return answer


def run_here(name: str, path: Path) -> None:
    work = STEPS[name] if name in STEPS else CONTENDERS[name][0]
    _import_before_the_clock_starts(name)
    began = time.process_time()
    result = work(path)
    spent = time.process_time() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu": spent, "memory": memory, "result": result}))


def _import_before_the_clock_starts(name: str) -> None:
    if name == "SDK check_file":
        importlib.import_module("together.lib.utils.files")
    else:
        importlib.import_module("together_flows.datasets.repair")  # it needs nearly all the others
        importlib.import_module("together_flows.datasets.validation")


def compare_checks(size: int, rounds: int) -> list[str]:
    """Print the table of checks; return the budgets that were broken."""
    names = [name for name in CONTENDERS if name != "SDK check_file" or importlib.util.find_spec("together")]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder), size)
        for _ in range(rounds):
            for name in names:
                runs[name].append(run_apart(name, Path(folder) / CONTENDERS[name][1]))
        sizes = {name: (Path(folder) / CONTENDERS[name][1]).stat().st_size / 1e6 for name in names}
    speed = {name: sizes[name] / statistics.median(run["cpu"] for run in runs[name]) for name in names}
    memory = {name: max(run["memory"] for run in runs[name]) for name in names}
    print(f"{size / 1e6:.0f} MB{'':22} MB per CPU second  x json.loads  x json.loads + sha256  memory MB")
    for name in names:
        ratios = [speed[name] / speed[peer] for peer in ("json.loads loop", "json.loads loop + sha256")]
        print(f"{name:28} {speed[name]:17.0f} {ratios[0]:13.2f} {ratios[1]:22.2f} {memory[name]:10.0f}")
    ours = [name for name in names if name.startswith("validate")]
    slow = [f"{name} is slower than the loop" for name in ours if speed[name] < speed["json.loads loop + sha256"]]
    large = [f"{name} takes {memory[name]:.0f} MB" for name in ours if memory[name] > CHECK_MEMORY]
    return slow + large


def run_full() -> list[str]:
    """Print what a million rows cost from start to end; return the budgets that were broken."""
    broken = []
    print(f"\n{ROWS:,} rows{'':12} CPU s  memory MB  result")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for step in STEPS:
            if step == "shard a file":
                _join_shards(folder)
            if step == "merge":
                make_results(folder)
            run = run_apart(step, folder)
            print(f"{step:22} {run['cpu']:6.1f} {run['memory']:10.0f}  {run['result']}")
            if run["memory"] > FULL_MEMORY:
                broken.append(f"{step} takes {run['memory']:.0f} MB")
    return broken


def _join_shards(folder: Path) -> None:
    def blocks() -> Iterator[bytes]:
        for shard in sorted((folder / "batch").glob("*.jsonl")):
            yield shard.read_bytes()

    with (folder / "rows.jsonl").open("wb") as stream:
        stream.writelines(blocks())


def bytes_of(text: str) -> int:
    """A size such as `256M` or `1G`, in bytes."""
    factor = {"M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper())
    return int(text) if factor is None else int(float(text[:-1]) * factor)


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=bytes_of, default=bytes_of("90M"), help="of the files that are checked")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--full", action="store_true", help="also shard, merge and repair a million rows")
    parser.add_argument("--check", action="store_true", help="fail when a budget is broken")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_here(options.one[0], Path(options.one[1]))
        return
    broken = compare_checks(options.size, options.rounds)
    if options.full:
        broken += run_full()
    if options.check and broken:
        sys.exit("\n".join(broken))


if __name__ == "__main__":
    main()
