"""The examples of the README and of `docs/`, as their readers find them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.checkout import ROOT

README = ROOT / "README.md"
DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorial.md"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMENT = re.compile(r"\s{2,}# .*")
_MASKS = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\d{4}-\d{2}-\d{2}"), "<day>"),
    (re.compile(r'"source":"\w+"'), '"source":"<store>"'),
)


class Command(NamedTuple):
    """A command of a console block, and what the block says that it prints."""

    text: str
    output: str


def pages() -> list[Path]:
    """The README, and every page of `docs/`."""
    return [README, *sorted(DOCS.rglob("*.md"))]


def section(page: Path, heading: str) -> str:
    """What is below a heading of the second level, like `4. Send the event`."""
    text = page.read_text()
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, f"{page.name} has no section {heading!r}"
    return rest.partition("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    """The code of all blocks in that language."""
    return [code for found, code in _BLOCK.findall(text) if found == language]


def commands(text: str) -> Iterator[Command]:
    """The commands of all console blocks.

    A line that begins with `$ ` begins a command. Lines that begin with two spaces right after it belong to it; what
    follows is its output.
    """
    for block in blocks(text, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            first, *lines = part.splitlines(keepends=True)
            count = next((index for index, line in enumerate(lines) if not line.startswith("  ")), len(lines))
            text = _COMMENT.sub("", first) + "".join(lines[:count])
            yield Command(text.strip(), "".join(lines[count:]))


def links(page: Path) -> list[str]:
    """Where the links of a page lead, except to other sites."""
    return [link for link in _LINK.findall(_FENCED.sub("", page.read_text())) if "://" not in link]


def search_definition() -> str:
    """The whole definition that the reference shows: `definitions/search.py`."""
    (definition,) = blocks(section(DOCS / "reference" / "definitions.md", "A whole definition"), "python")
    return definition


def tutorial_definition() -> str:
    """The definition that the tutorial has its readers write: `definitions/issue_summaries.py`."""
    (definition,) = blocks(section(TUTORIAL, "2. Define an event"), "python")
    return definition


def masked(output: str) -> str:
    """An output without what differs from run to run: ids, days, and which store answered."""
    for pattern, mask in _MASKS:
        output = pattern.sub(mask, output)
    return output
