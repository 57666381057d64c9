"""Reads the examples in the README and `docs/`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.checkout import ROOT

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
    """A command of a console block, and the output that the block shows."""

    text: str
    output: str


def pages() -> list[Path]:
    """Returns the README and every page of `docs/`."""
    return [README, *sorted(DOCS.rglob("*.md"))]


def section(page: Path, heading: str) -> str:
    """Returns the text below a heading of the second level, like `4. Send the event`."""
    text = page.read_text()
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, f"{page.name} has no section {heading!r}"
    return rest.partition("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    """Returns the code of all blocks in that language."""
    return [code for found, code in _BLOCK.findall(text) if found == language]


def commands(text: str) -> Iterator[Command]:
    """Returns the commands of all console blocks.

    A line that begins with `$ ` begins a command. Lines after it that begin with two spaces belong to the command;
    the lines that follow are its output.
    """
    for block in blocks(text, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            first, *lines = part.splitlines(keepends=True)
            count = next((index for index, line in enumerate(lines) if not line.startswith("  ")), len(lines))
            text = _COMMENT.sub("", first) + "".join(lines[:count])
            yield Command(text.strip(), "".join(lines[count:]))


def links(page: Path) -> list[str]:
    """Returns the targets of a page's links, except those to other sites."""
    return [link for link in _LINK.findall(_FENCED.sub("", page.read_text())) if "://" not in link]


def search_definition() -> str:
    """Returns the complete definition in the reference: `definitions/search.py`."""
    (definition,) = blocks(section(DOCS / "reference" / "definitions.md", "A whole definition"), "python")
    return definition


def tutorial_definition() -> str:
    """Returns the tutorial's definition: `definitions/issue_summaries.py`."""
    (definition,) = blocks(section(TUTORIAL, "2. Define an event"), "python")
    return definition


def masked(output: str) -> str:
    """Masks the parts of an output that differ between runs: ids, days, and the store's name."""
    for pattern, mask in _MASKS:
        output = pattern.sub(mask, output)
    return output
