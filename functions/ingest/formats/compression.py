"""Unpacks gzip bodies, which are detected by their first bytes."""

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


class TooLarge(Exception):
    """A body exceeds the size limit, packed or unpacked."""


def unpacked(body: bytes) -> bytes:
    """Returns the body; unpacks it if it is gzip, as bytes, latin-1 text or base64 text.

    >>> unpacked(b'{"event": "a"}')
    b'{"event": "a"}'

    Raises:
        Rejection: the body can't be unpacked (`invalid_gzip`).
        TooLarge: the body exceeds 20 MB. Unpacking stops at that size.
    """
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
        raise Rejection("invalid_gzip", f"The body starts like gzip, but can't be unpacked: {error}.") from error
    if len(body) > MAX_UNPACKED_BYTES:
        raise TooLarge(f"The body has {len(body)} bytes; at most {MAX_UNPACKED_BYTES} are allowed.")
    return body


def _inflated(packed: bytes) -> bytes:
    """Unpacks all members of a gzip file; some producers pad members with zeros."""
    parts: list[bytes] = []
    room, position = MAX_UNPACKED_BYTES, 0
    while begin := _AFTER_PADDING.search(packed, position):
        member, position = zlib.decompressobj(_GZIP_WINDOW), begin.start()
        while not member.eof:
            piece = packed[position : position + _FED_AT_ONCE]
            if not piece:
                raise EOFError("the data is cut off")
            parts.append(member.decompress(piece, room + 1))
            position += len(piece)
            room -= len(parts[-1])
            if room < 0:
                raise TooLarge(f"The body has more than {MAX_UNPACKED_BYTES} bytes when unpacked.")
        position -= len(member.unused_data)
    return b"".join(parts)
