"""Payload paths: parsed from text like `job.id`, `tags[0]` or `"key.with.dots"[2].name`."""

import re
from collections.abc import Sequence

import msgspec

from functions.shared.catalog.payload import MAX_DEPTH

MAX_PATH_CHARACTERS = 1024
_MAX_EXCERPT_CHARACTERS = 60

type Path = tuple[str | int, ...]
"""Steps from the payload down to a value: keys of objects, and indexes of arrays, counted from 0."""

_KEY = r'"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^.\[\]"]+)'
_FIRST_STEP = re.compile(_KEY, re.DOTALL)
_FURTHER_STEP = re.compile(rf"\[(?P<index>0|[1-9][0-9]{{0,8}})\]|\.(?:{_KEY})", re.DOTALL)

type _Tree = dict[str | int, "_Tree | msgspec.Raw"]


def read_path(text: str) -> Path:
    """Parses a payload path.

    >>> read_path('tags[0]."a.b"')
    ('tags', 0, 'a.b')

    Raises:
        ValueError: the text is not a path, or exceeds 1,024 characters or 64 steps; the message is for the client.
    """
    if len(text) > MAX_PATH_CHARACTERS:
        raise ValueError(f"A path has at most {MAX_PATH_CHARACTERS:,} characters, not {len(text):,}.")
    steps: list[str | int] = []
    at, pattern = 0, _FIRST_STEP
    while at < len(text) or not steps:
        match = pattern.match(text, at)
        if match is None:
            raise ValueError(f'{_excerpt(text)} is not a path like job.id, tags[0] or "a.b".c: see character {at + 1}.')
        steps.append(_step(match, text))
        at, pattern = match.end(), _FURTHER_STEP
    if len(steps) > MAX_DEPTH:
        raise ValueError(f"{_excerpt(text)} has {len(steps)} steps, but payloads are at most {MAX_DEPTH} levels deep.")
    return tuple(steps)


def _step(match: re.Match[str], text: str) -> str | int:
    """The key or index of a matched step of the path `text`."""
    found = match.groupdict()
    if found.get("index") is not None:
        return int(found["index"])
    key = found["bare"]
    try:
        if key is None:
            key = msgspec.json.decode(f'"{found["quoted"]}"', type=str)
        key.encode()
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise ValueError(f"{_excerpt(text)} has a key that is not a JSON string.") from None
    if "\0" in key:
        raise ValueError(f"{_excerpt(text)} contains the character U+0000, which no key contains.")
    return key


def payload_at_paths(paths: Sequence[Path], texts: Sequence[msgspec.Raw | None]) -> dict[str, object]:
    """A payload reduced to the values at some paths, nested as in the payload.

    An array keeps only the elements at the paths, in order. A path inside another path adds nothing.

    Args:
        paths: in the order of the result's keys.
        texts: JSON of the value at each path; None without a value.
    """
    tree: _Tree = {}
    for path, text in zip(paths, texts, strict=True):
        if text is not None:
            _insert(tree, path, text)
    return {str(key): _nested_json(branch) for key, branch in tree.items()}


def _insert(tree: _Tree, path: Path, text: msgspec.Raw) -> None:
    for step in path[:-1]:
        branch = tree.setdefault(step, {})
        if isinstance(branch, msgspec.Raw):
            return  # a shorter path already holds the whole value
        tree = branch
    tree[path[-1]] = text


def _nested_json(branch: "_Tree | msgspec.Raw") -> object:
    """A branch of the tree as JSON: an array if its steps are indexes, else an object."""
    if isinstance(branch, msgspec.Raw):
        return branch
    if all(isinstance(step, int) for step in branch):
        return [_nested_json(branch[step]) for step in sorted(branch, key=int)]
    return {str(key): _nested_json(inner) for key, inner in branch.items()}


def _excerpt(text: str) -> str:
    excerpt = text if len(text) <= _MAX_EXCERPT_CHARACTERS else text[: _MAX_EXCERPT_CHARACTERS - 1] + "…"
    return ascii(excerpt) if not excerpt.isprintable() else f"'{excerpt}'"
