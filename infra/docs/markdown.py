"""Markdown: tables and the texts in them."""

from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with these columns; a cell is Markdown in one line."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def code(text: str) -> str:
    """`text` as code; nothing if it is empty."""
    return f"`{text}`" if text else ""


def codes(texts: Iterable[str]) -> str:
    """The texts as code, with commas between them."""
    return ", ".join(map(code, texts))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
