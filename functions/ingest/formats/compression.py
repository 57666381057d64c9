"""Unpacks gzip bodies, which are detected by their first bytes, and names what other bodies are packed with."""

import base64
import binascii
import re
import zlib

from functions.shared.rejection import Rejection

MAX_UNPACKED_BYTES = 20 * 1024 * 1024

_GZIP = b"\x1f\x8b"
_GZIP_AS_LATIN_1 = b"\x1f\xc2\x8b"  # a gateway decoded each byte as one character
_GZIP_AS_BASE64 = b"H4sI"
_GZIP_WITH_MARKS = b"\x1f\xef\xbf\xbd"  # a gateway decoded the bytes as UTF-8 and replaced the invalid ones
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_FED_AT_ONCE = 4096  # bytes; zlib copies the rest after each member, and members may be short
_AFTER_PADDING = re.compile(rb"[^\0]")


_MARK = b"\xef\xbb\xbf"  # the byte order mark in UTF-8
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_TAKEN = frozenset({"", "gzip", "identity", "x-gzip"})
_FIRST_BYTES = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x78\x01": "deflate",
    b"\x78\x5e": "deflate",
    b"\x78\x9c": "deflate",
    b"\x78\xda": "deflate",
}


class TooLarge(Exception):
    """A body exceeds the size limit, packed or unpacked."""


def unpacked(body: bytes) -> bytes:
    """Returns the body without a byte order mark; unpacks it if it is gzip, as bytes, latin-1 text or base64 text.

    >>> unpacked(b'{"event": "a"}')
    b'{"event": "a"}'

    Raises:
        Rejection: the body can't be unpacked (`invalid_gzip`), or is not in UTF-8 (`invalid_json`).
        TooLarge: the body exceeds 20 MB. Unpacking stops at that size.
    """
    body = without_mark(body)
    if body.startswith(_GZIP_WITH_MARKS):
        raise Rejection(
            "invalid_gzip",
            "The gateway damaged the gzip body: send the body with Content-Encoding: gzip, or in base64.",
        )
    try:
        if body.startswith(_GZIP_AS_LATIN_1):
            body = body.decode().encode("latin-1")
        elif body.startswith(_GZIP_AS_BASE64):
            body = base64.b64decode(body.rstrip(), validate=True)
        if body.startswith(_GZIP):
            body = _inflated(body)
    except (UnicodeError, binascii.Error, zlib.error, EOFError) as error:
        problem = "the data is cut off" if isinstance(error, EOFError) else "the data is damaged"
        raise Rejection("invalid_gzip", f"The body starts like gzip, but can't be unpacked: {problem}.") from error
    if body.startswith(_UTF_16):
        raise Rejection("invalid_json", "The body is in UTF-16: send it in UTF-8.")
    if len(body) > MAX_UNPACKED_BYTES:
        raise TooLarge(f"The body has {len(body)} bytes; at most {MAX_UNPACKED_BYTES} are allowed.")
    return without_mark(body)


def without_mark(text: bytes) -> bytes:
    """Returns the text without the byte order mark that some programs write before it."""
    return text.removeprefix(_MARK)


def other_encoding(content_encoding: str, body: bytes) -> str | None:
    """Returns the name of an encoding that is not taken: the header's, or the one that the first bytes show.

    A gateway that unpacked the body may leave the header, so the header alone is no reason to refuse a body.
    """
    codings = [coding.strip().lower() for coding in content_encoding.split(",")]
    named = next((coding for coding in reversed(codings) if coding not in _TAKEN), None)
    return named or next((name for first, name in _FIRST_BYTES.items() if body.startswith(first)), None)


def _inflated(packed: bytes) -> bytes:
    """Unpacks all members of a gzip file; some producers pad members with zeros."""
    parts: list[bytes] = []
    room, position = MAX_UNPACKED_BYTES, 0
    while begin := _AFTER_PADDING.search(packed, position):
        member, position = zlib.decompressobj(_GZIP_WINDOW), begin.start()
        while not member.eof:
            piece = packed[position : position + _FED_AT_ONCE]
            if not piece:
                raise EOFError
            parts.append(member.decompress(piece, room + 1))
            position += len(piece)
            room -= len(parts[-1])
            if room < 0:
                raise TooLarge(f"The body has more than {MAX_UNPACKED_BYTES} bytes when unpacked.")
        position -= len(member.unused_data)
    return b"".join(parts)
