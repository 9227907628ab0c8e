"""How a JSONL file is walked: what each purpose adds is one subclass.

Most lines of a real file are fine, so each line first meets a quick check that reads it into typed fields. The quick
check only ever accepts; whatever it does not accept is read again by the exact rules, which alone decide, and say what
is wrong. The quick check must never accept what the exact rules refuse, with one exception: it cannot see a key that is
repeated in one object, nor how large a number is in a member that it passes over. The exact rules therefore also read
the first lines of each file, where a program that writes such things shows itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from together_flows.datasets.json_line import UNREADABLE, read_object
from together_flows.datasets.lines import BYTE_ORDER_MARK, MAX_LINE_BYTES, LineReader
from together_flows.datasets.messages import TextSize
from together_flows.datasets.report import LineProblems, ProblemLog

EXACT_ROWS = 100
"""Rows at the start of each file that the exact rules read in any case."""

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Checker(ABC):
    """Checks one file of one purpose, and gathers what the report says of it."""

    format: str = ""

    def __init__(self, log: ProblemLog) -> None:
        self.log = log
        self.rows = 0
        self.size = TextSize()
        self.models: dict[str, None] = {}
        self.columns: tuple[str, ...] = ()

    @abstractmethod
    def run(self, reader: LineReader) -> None:
        """Check the whole stream."""


class TextChecker(Checker):
    """Checks a file of text, whatever its rows look like."""

    def run(self, reader: LineReader) -> None:
        if not skip_byte_order_mark(reader, self.log, is_problem=True):
            return
        self._check_rows(reader)
        if self.rows == 0 and self.log.count == 0:
            self.log.add(0, "", "The file holds no rows.", "Give at least one.")
        self._finish()

    @abstractmethod
    def _check_rows(self, reader: LineReader) -> None: ...

    def _finish(self) -> None:
        """Check what can be told only at the end of the file."""


class LineChecker(TextChecker):
    """Checks a file that holds one JSON object a line. Blank lines are passed over."""

    def _check_rows(self, reader: LineReader) -> None:
        for number, line in enumerate(reader, 1):
            if line.isspace():
                continue
            self.rows += 1
            if len(line) > MAX_LINE_BYTES:
                note_long_line(number, self.log)
            elif self.rows == 1 and _begins_array(line):
                mend = "Write each element on a line of its own, without brackets around them or commas between them."
                self.log.add(number, "", "The file is one JSON array, not JSON lines.", mend)
                return
            elif self.rows <= EXACT_ROWS or not self._passes(number, line):
                self._explain(number, line)

    def _passes(self, number: int, line: bytes) -> bool:
        try:
            return self._accepts(number, line)
        except UNREADABLE:
            return False

    def _explain(self, number: int, line: bytes) -> None:
        problems = self.log.at(number)
        value = read_object(line, problems)
        if value is not None:
            self._check_object(number, value, problems)

    @abstractmethod
    def _accepts(self, number: int, line: bytes) -> bool:
        """Take a line that is certainly good; answer `False`, or raise one of `UNREADABLE`, for any other."""

    @abstractmethod
    def _check_object(self, number: int, value: dict[str, Any], problems: LineProblems) -> None:
        """Apply the exact rules to a line's object, and take it."""


def skip_byte_order_mark(reader: LineReader, log: ProblemLog, *, is_problem: bool) -> bool:
    """Pass over a UTF-8 byte order mark; answer `False` when the stream cannot be read as UTF-8 at all."""
    head = reader.peek(len(BYTE_ORDER_MARK))
    if not head:
        log.add(0, "", "The file is empty.", "Give at least one row.")
    elif head.startswith(_UTF16_MARKS):
        log.add(0, "", "The file is in UTF-16 or UTF-32.", "Save it in the encoding UTF-8.")
    else:
        if head == BYTE_ORDER_MARK:
            reader.read(len(head))
            if is_problem:
                mend = 'Save the file as UTF-8 without it (in Python: encoding="utf-8", not "utf-8-sig").'
                log.add(1, "", "The file starts with a byte order mark.", mend)
        return True
    return False


def note_long_line(number: int, log: ProblemLog) -> None:
    log.add(number, "", f"The line is longer than {MAX_LINE_BYTES // 10**6} MB.", "Write one object a line.")


def is_utf8(line: bytes) -> bool:
    """Whether a line is UTF-8 throughout. Typed decoding does not look into fields that it skips.

    Raises:
        UnicodeDecodeError: it is not.
    """
    return line.isascii() or bool(line.decode())


def _begins_array(line: bytes) -> bool:
    stripped = line.strip()
    return stripped.startswith(b"[") and not stripped.endswith(b"]")
