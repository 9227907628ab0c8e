"""Checks a dataset before it is uploaded: one pass over the file, all problems, and its hash."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import cast, get_args

from together_flows.datasets.batch_lines import CHAT_ENDPOINT, MAX_FILE_BYTES, BatchChecker
from together_flows.datasets.checker import Checker
from together_flows.datasets.eval_rows import EvalCsvChecker, EvalLineChecker
from together_flows.datasets.fine_tune import FineTuneChecker, Format
from together_flows.datasets.lines import LineReader
from together_flows.datasets.parquet import ParquetChecker
from together_flows.datasets.report import DEFAULT_MAX_PROBLEMS, ProblemLog, Purpose, Report
from together_flows.datasets.storage import Location, name_of, open_source
from together_flows.datasets.tokens import tokens_of
from together_flows.errors import ArgumentInvalid

MAX_UPLOAD_BYTES = int(50.1 * (1 << 30))
"""The largest file that can be uploaded. Source: the checks of Together's SDK."""

_FORMATS: dict[str, tuple[str, ...]] = {
    "fine-tune": get_args(Format),
    "batch-api": ("batch",),
    "eval": ("eval",),
}
_SUFFIXES: dict[str, tuple[str, ...]] = {
    "fine-tune": (".jsonl", ".parquet"),
    "batch-api": (".jsonl",),
    "eval": (".jsonl", ".csv"),
}


def validate(
    source: Location,
    *,
    purpose: Purpose,
    format: str | None = None,
    columns_used: Collection[str] | None = None,
    endpoint: str = CHAT_ENDPOINT,
    max_problems: int = DEFAULT_MAX_PROBLEMS,
) -> Report:
    """Check a file against the rules of its purpose, and hash it, in one pass and constant memory.

    The suffix says what the file is, as it does for the API: `.jsonl`, `.csv` (evaluations only) or `.parquet`
    (training on tokenised data only). Of a Parquet file nothing is checked but that it is one, and its size.

    Args:
        source: a local path or an fsspec URL.
        purpose: what the file is for, in the API's words.
        format: the format that the file must have; `None` takes the one that it has. Only fine-tuning knows several:
            `"conversation"`, `"instruction"`, `"preference"` and `"text"`.
        columns_used: for evaluations: the columns that the job's templates and settings refer to. When given, a column
            of the file that is not among them is a problem, and so is one that the file lacks.
        endpoint: for batches: the endpoint that the batch calls.
        max_problems: how many problems to keep in full; the rest is only counted.

    Returns:
        The report. Nothing that is in the file makes this function raise.

    Raises:
        ArgumentInvalid: an argument does not fit, or there is no such file.
        ConfigurationInvalid: a URL was given and its storage cannot be reached from here.
    """
    _check_arguments(purpose, format, columns_used, max_problems)
    log = ProblemLog(max_problems)
    checker = _checker(source, purpose, format, columns_used, endpoint, log)
    with open_source(source) as stream:
        reader = LineReader(stream)
        if checker is not None:
            checker.run(reader)
        reader.drain()
    _check_size(reader.size, purpose, log)
    return Report(
        path=os.fspath(source),
        purpose=purpose,
        format=checker.format if checker else "",
        rows=checker.rows if checker else 0,
        bytes=reader.size,
        sha256=reader.sha256,
        problems=log.problems,
        problem_count=log.count,
        models=tuple(checker.models) if checker else (),
        columns=checker.columns if checker else (),
        approximate_tokens=tokens_of(checker.size.text_bytes, checker.size.messages) if checker else 0,
    )


def _check_arguments(
    purpose: str, file_format: str | None, columns_used: Collection[str] | None, max_problems: int
) -> None:
    if purpose not in _FORMATS:
        raise ArgumentInvalid(f"purpose: {purpose!r} is unknown.", mend=f"Use one of {', '.join(_FORMATS)}.")
    if file_format is not None and file_format not in _FORMATS[purpose]:
        allowed = ", ".join(_FORMATS[purpose])
        raise ArgumentInvalid(f"format: {file_format!r} is none for {purpose}.", mend=f"Use one of {allowed}.")
    if columns_used is not None and purpose != "eval":
        raise ArgumentInvalid("columns_used is for evaluations.", mend='Leave it out, or use purpose="eval".')
    if max_problems < 1:
        raise ArgumentInvalid(f"max_problems: {max_problems} is too few.", mend="Use at least 1.")


def _checker(
    source: Location,
    purpose: str,
    file_format: str | None,
    columns_used: Collection[str] | None,
    endpoint: str,
    log: ProblemLog,
) -> Checker | None:
    suffix = PurePosixPath(name_of(source)).suffix
    if suffix not in _SUFFIXES[purpose]:
        allowed = " or ".join(_SUFFIXES[purpose])
        kind = f"is of the type {suffix}" if suffix else "has no suffix that tells its type"
        message = f"The file {kind}; for {purpose} it must be {allowed}."
        log.add(0, "", message, f"Write the data as {allowed}, and name the file so.")
        return None
    if suffix == ".parquet":
        return ParquetChecker(log)
    if suffix == ".csv":
        return EvalCsvChecker(log, columns_used)
    if purpose == "eval":
        return EvalLineChecker(log, columns_used)
    if purpose == "batch-api":
        return BatchChecker(log, endpoint)
    return FineTuneChecker(log, cast("Format | None", file_format))


def _check_size(size: int, purpose: str, log: ProblemLog) -> None:
    if size > MAX_UPLOAD_BYTES:
        log.add(0, "", f"The file has {size / (1 << 30):.1f} GiB; 50.1 GiB can be uploaded.", "Split it.")
    elif purpose == "batch-api" and size > MAX_FILE_BYTES:
        message = f"The file has {size / 1e6:.1f} MB; a batch takes {MAX_FILE_BYTES // 10**6} MB."
        log.add(0, "", message, "Split it: BatchInput.from_file does.")
