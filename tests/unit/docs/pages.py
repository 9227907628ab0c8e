"""The pages of the documentation, as the tests read them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCS", "PAGES", "ROOT", "Block", "blocks", "named_in"]

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("reference/*.md"), ROOT / "README.md"])


@dataclass(frozen=True)
class Block:
    """A block of code on a page.

    Attributes:
        page: the page.
        line: of its first line of code, so that a traceback leads there.
        text: the code.
    """

    page: Path
    line: int
    text: str

    def compiled(self) -> object:
        """The block as code that knows its place."""
        return compile("\n" * (self.line - 1) + self.text, str(self.page), "exec")


def blocks(page: Path, language: str) -> list[Block]:
    """The blocks of a page in a language, in order."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(page, text.count("\n", 0, match.start(1)) + 1, match[1]) for match in found]


def named_in(page: Path) -> set[str]:
    """Every word on a page that could be the name of something."""
    return set(re.findall(r"\w+", page.read_text(encoding="utf-8")))
