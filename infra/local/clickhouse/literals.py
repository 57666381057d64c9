"""Text and names as SQL writes them."""


def quoted(text: str, quote: str = "'") -> str:
    """The text as a literal of ClickHouse's SQL, or as a name in backquotes."""
    return quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote
