"""Statements of the policies in a template."""

import json
from collections.abc import Iterator
from typing import Any


def statements(value: Any) -> Iterator[dict[str, Any]]:
    """Yields the statements of all policies in a resource, also those that a condition includes."""
    match value:
        case {"Effect": _}:
            yield value
        case dict():
            for inner in value.values():
                yield from statements(inner)
        case list():
            for inner in value:
                yield from statements(inner)


def wide_parts(statement: dict[str, Any]) -> set[str]:
    """Returns which of actions, resources and principals a statement allows without a limit."""
    wide = {name for name in ("Resource", "Principal") if '"*"' in json.dumps(statement.get(name))}
    return wide | ({"Action"} if "*" in json.dumps(statement["Action"]) else set())
