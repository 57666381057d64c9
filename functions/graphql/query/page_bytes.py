"""Limits the bytes of payloads that one page may make a store read.

A payload has at most 16 KiB, but a page may ask for many values that lie within each other.
"""

from collections.abc import Iterable

from functions.graphql.query.errors import InvalidArgument
from functions.graphql.query.store import PAYLOAD, EventRow, RequestedFields
from functions.shared.catalog.payload import MAX_PAYLOAD_BYTES

MAX_PAGE_BYTES = 32 * 1024 * 1024


class PageTooLarge(InvalidArgument):
    """A page has more bytes of payloads than a store may read at once."""

    def __init__(self) -> None:
        super().__init__(
            f"The payloads of a page have more than {MAX_PAGE_BYTES:,} bytes: ask for fewer events or paths."
        )


def may_be_too_large(limit: int, requested: RequestedFields) -> bool:
    """Whether a page of at most `limit` events could have more than `MAX_PAGE_BYTES`."""
    texts = requested.payload + bool(requested.keys) + len(requested.paths)
    return limit * texts * MAX_PAYLOAD_BYTES > MAX_PAGE_BYTES


def within_limit(rows: Iterable[EventRow]) -> list[EventRow]:
    """Reads rows one by one, up to `MAX_PAGE_BYTES`.

    Raises:
        PageTooLarge: the rows have more bytes.
    """
    found: list[EventRow] = []
    size = 0
    for row in rows:
        size += sum(len(text) for text in row[PAYLOAD:] if text is not None)
        if size > MAX_PAGE_BYTES:
            raise PageTooLarge
        found.append(row)
    return found
