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
