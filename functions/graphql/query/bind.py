"""Bind parameters of a SQL statement, under generated names."""

from typing import Any


def add_value(values: dict[str, Any], value: Any) -> str:
    """Adds a value to `values` under a new name, and returns the name.

    The name contains the number of values, so callers may add other values, but must not remove any.
    """
    name = f"value_{len(values)}"
    values[name] = value
    return name
