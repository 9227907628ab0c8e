"""Real text that every machine has: questions about Python's standard library, answered by its own docstrings.

Each documented function, class or method gives a question in several wordings with one answer, its docstring's first
paragraph. A model is trained on some wordings and asked in others, so a good score shows that it learnt the content.
"""

from __future__ import annotations

import importlib
import inspect
import json
import random
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MODULES = (
    "abc argparse array ast asyncio base64 bisect bz2 calendar cmath codecs collections colorsys "
    "concurrent.futures configparser contextlib copy csv ctypes dataclasses datetime decimal difflib dis "
    "email.message enum fileinput fnmatch fractions ftplib functools gc getpass gettext glob graphlib gzip "
    "hashlib heapq hmac html http.client http.cookies imaplib importlib.metadata inspect io ipaddress itertools "
    "json keyword linecache locale logging lzma mailbox math mimetypes mmap multiprocessing netrc ntpath numbers "
    "operator optparse os os.path pathlib pickle pickletools pkgutil platform plistlib poplib posixpath pprint "
    "profile pstats queue quopri random re reprlib runpy sched secrets select selectors shelve shlex shutil "
    "signal smtplib socket socketserver sqlite3 ssl stat statistics string stringprep struct subprocess symtable "
    "sysconfig tarfile tempfile textwrap threading timeit token tokenize tomllib traceback tracemalloc turtle "
    "types typing unicodedata unittest unittest.mock urllib.parse urllib.request uuid wave weakref webbrowser "
    "wsgiref.util xml.dom.minidom xml.etree.ElementTree zipapp zipfile zipimport zlib zoneinfo"
)

TRAINING = ("What does `{name}` do?", "Explain `{name}` from the Python standard library.")
VALIDATION = "Tell me what `{name}` is for."
HELD_OUT = "In one paragraph, what is `{name}`?"
BATCH = "Describe `{name}` in Python."

SYSTEM = "You explain Python's standard library in one short paragraph."
_ANSWER_LENGTHS = range(25, 401)


@dataclass(frozen=True)
class Documented:
    """Something with a name and an explanation."""

    name: str
    explanation: str


@dataclass(frozen=True)
class Datasets:
    """The files of one run of the main job, and how many rows each has."""

    training: Path
    validation: Path
    held_out: Path
    prompts: Path
    rows: dict[str, int]


def write_datasets(folder: Path, *, held_out: int = 60, validation: int = 150, prompts: int = 120) -> Datasets:
    """Write the files of the main job: the same text gives the same files.

    Args:
        folder: where the files go.
        held_out: rows to evaluate on, worded as the training rows are not.
        validation: rows that the training is measured on as it goes.
        prompts: rows of the batch; one more is too long for any model, to show how a failed row is accounted for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = sorted(set(documented()), key=lambda item: item.name)
    picked = random.Random(20).sample(known, held_out + validation + prompts)  # noqa: S311 - picks examples
    asked, checked = picked[:held_out], picked[held_out : held_out + validation]
    batch = picked[held_out + validation :]
    datasets = Datasets(
        training=folder / "training.jsonl",
        validation=folder / "validation.jsonl",
        held_out=folder / "held_out.jsonl",
        prompts=folder / "prompts.jsonl",
        rows={
            "training": len(known) * len(TRAINING),
            "validation": len(checked),
            "held_out": len(asked),
            "prompts": len(batch) + 1,
        },
    )
    _write(datasets.training, (_conversation(wording, item) for wording in TRAINING for item in known))
    _write(datasets.validation, (_conversation(VALIDATION, item) for item in checked))
    _write(
        datasets.held_out,
        ({"question": HELD_OUT.format(name=item.name), "reference": item.explanation} for item in asked),
    )
    too_long = {"custom_id": "too-long", "prompt": "Summarise this. " + "lorem ipsum dolor sit amet " * 40_000}
    _write(
        datasets.prompts,
        [*({"custom_id": item.name, "prompt": BATCH.format(name=item.name)} for item in batch), too_long],
    )
    return datasets


def documented() -> Iterator[Documented]:
    """Every public function, class and method of the standard library that explains itself in a paragraph."""
    with warnings.catch_warnings(action="ignore"):  # of modules and names that are on their way out
        yield from _documented()


def _documented() -> Iterator[Documented]:
    for module_name in _MODULES.split():
        try:
            module = importlib.import_module(module_name)
        except ImportError:  # a build of Python without it
            continue
        for name, value in _public(module):
            if getattr(value, "__module__", module_name) not in (module_name, f"_{module_name}", None):
                continue
            yield from _explained(f"{module_name}.{name}", value)
            if inspect.isclass(value):
                for method_name, method in _public(value):
                    if callable(method) and method_name in vars(value):
                        yield from _explained(f"{module_name}.{name}.{method_name}", method)


def _public(owner: object) -> Iterator[tuple[str, Any]]:
    for name in sorted(vars(owner)):
        if not name.startswith("_"):
            value = inspect.getattr_static(owner, name)
            if _is_documentable(value):
                yield name, value


def _is_documentable(value: object) -> bool:
    tests: tuple[Callable[[object], bool], ...] = (inspect.isroutine, inspect.isclass)
    return any(test(value) for test in tests)


def _explained(name: str, value: object) -> Iterator[Documented]:
    paragraph = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
    if len(paragraph) in _ANSWER_LENGTHS and not paragraph.startswith(name.rpartition(".")[2] + "("):
        yield Documented(name, paragraph)


def _conversation(wording: str, item: Documented) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": wording.format(name=item.name)},
            {"role": "assistant", "content": item.explanation},
        ]
    }


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
