"""When Python looks for reference cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collected_afterwards() -> Iterator[None]:
    """Puts the search for reference cycles off to the end of the block.

    A batch makes objects by the ten thousand that live as long as it does and refer to each other in no cycle. To look
    through them again and again takes as long as to read them.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def kept() -> Iterator[None]:
    """Keeps what is there at the end of the block out of every search for reference cycles: for imports.

    They make objects by the hundred thousand that live as long as the process does. To look through these takes a
    fifteenth of the time in which the ingest function starts.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
