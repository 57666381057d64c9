"""`counted`: a number with the word for what it counts, in sentences for people."""

_OF_SEVERAL = {"": "", "was": "were", "is": "are", "waits": "wait", "differs": "differ"}


def counted(number: int, thing: str, verb: str = "") -> str:
    """The number and its thing, in the singular for one, with the verb that follows.

    Args:
        thing: one of what is counted; its plural has an `s` at the end. Empty for the number alone.
        verb: what follows, as for one; nothing without it.

    >>> counted(1, "row", "was"), counted(1200, "row", "was"), counted(0, "event")
    ('1 row was', '1,200 rows were', '0 events')
    """
    words = (thing, verb) if number == 1 else (thing and f"{thing}s", _OF_SEVERAL[verb])
    return " ".join(filter(None, (f"{number:,}", *words)))
