"""Ranges, parents and roots of traversal paths."""


def namespace_upper_bound(path: str) -> str:
    """The smallest text above all paths that begin with `path`, in byte order: "0" follows "/"."""
    return path[:-1] + chr(ord("/") + 1)


def parent_of(path: str) -> str:
    """The path of the namespace above; empty for a root."""
    return path[: path.rfind("/", 0, -1) + 1]


def root_of(path: str) -> str:
    """The root namespace of a path.

    >>> root_of("27/28/")
    '27/'
    """
    return f"{path.partition('/')[0]}/"
