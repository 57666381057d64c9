"""The values that are bound in a statement, by names that are made as they come."""

from typing import Any


def add_value(values: dict[str, Any], value: Any) -> str:
    """Adds a value under a name that no other in `values` has, and returns the name.

    The name tells only how many there are, so one may be added to `values` otherwise, but none removed.
    """
    name = f"value_{len(values)}"
    values[name] = value
    return name
