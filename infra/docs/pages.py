"""Pages of the documentation, and the blocks in them that are generated.

A block is what stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from infra.docs import commands, definitions, deployment, limits, metrics, schema

DOCS = Path(__file__).parents[2] / "docs"

_BLOCK = re.compile(r"<!-- generated: (?P<name>[\w-]+) -->\n.*?<!-- end of (?P=name) -->\n", re.DOTALL)

BLOCKS: Mapping[str, Callable[[], str]] = {
    "alarms": deployment.alarms,
    "commands": commands.commands,
    "definition-names": definitions.reserved_names,
    "environment": deployment.environment,
    "limit-constants": limits.constants_table,
    "limits": limits.limits,
    "metrics": metrics.metrics,
    "objectives": deployment.objectives,
    "parameters": deployment.parameters,
    "publisher-limits": limits.publisher_limits,
    "schema": schema.schema,
    "shipped-events": definitions.events,
    "shipped-payloads": definitions.payloads,
    "thresholds": limits.thresholds,
}


def write_pages(docs: Path) -> list[Path]:
    """Writes the pages whose blocks are stale, and returns them."""
    pages = stale_pages(docs)
    for page in pages:
        page.write_text(with_current_blocks(page.read_text()))
    return pages


def stale_pages(docs: Path) -> list[Path]:
    """Returns the pages below `docs` with a block that differs from the generated text."""
    return [page for page in _pages(docs) if (text := page.read_text()) != with_current_blocks(text)]


def with_current_blocks(text: str) -> str:
    """Returns the text of a page with all blocks generated again.

    Raises:
        KeyError: the page names a block that nothing generates.
    """
    return _BLOCK.sub(lambda block: _block(block["name"]), text)


def block_names(text: str) -> list[str]:
    """Returns the names of the blocks in the text of a page."""
    return [block["name"] for block in _BLOCK.finditer(text)]


def _block(name: str) -> str:
    return f"<!-- generated: {name} -->\n\n{BLOCKS[name]().strip()}\n\n<!-- end of {name} -->\n"


def _pages(docs: Path) -> Iterator[Path]:
    yield from sorted(docs.rglob("*.md"))
