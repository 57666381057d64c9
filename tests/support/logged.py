"""What functions log while a test looks."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from aws_lambda_powertools import Logger


@contextmanager
def logged_to[Stream: TextIO](stream: Stream) -> Iterator[Stream]:
    """Has the functions of this process, which share one handler, log to a stream.

    The handler writes to what was the standard output when the first of them was made. That may be the stream of a test
    that is over, which `setStream` would flush.
    """
    handler: Any = Logger().registered_handler
    former, handler.stream = handler.stream, stream
    try:
        yield stream
    finally:
        handler.stream = former
