"""Quotes text and names for ClickHouse's SQL."""


def quoted(text: str, quote: str = "'") -> str:
    """Returns the text as a literal, or as a name if `quote` is a backquote."""
    return quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote
