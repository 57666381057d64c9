"""Writes tables and texts as Markdown."""

from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table; a cell is Markdown in one line."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def code(text: str) -> str:
    """Returns the text as code; nothing if the text is empty."""
    return f"`{text}`" if text else ""


def codes(texts: Iterable[str]) -> str:
    """Returns the texts as code, separated by commas."""
    return ", ".join(map(code, texts))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
