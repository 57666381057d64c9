"""Ranges of traversal paths."""


def namespace_upper_bound(path: str) -> str:
    """The smallest text above all paths that begin with `path`, in byte order: "0" follows "/"."""
    return path[:-1] + chr(ord("/") + 1)
