"""`PayloadReader`: the values that a statement needs of each payload, read once each.

An expression like that of a number repeats the value several times, and PostgreSQL would look each up in the payload.
"""

from collections.abc import Iterator
from typing import Any

from psycopg import sql

from functions.graphql.postgres import payload_sql
from functions.graphql.query.path import Path

# Without OFFSET, PostgreSQL would put the expressions of a column wherever the column is used.
_ONCE = sql.SQL("OFFSET 0")
_NUMBERS = sql.SQL("SELECT found.*{numbers} FROM ({found} {once}) AS found {once}")


class PayloadReader:
    """The values at some paths, as columns of the statement that `read` completes.

    Args:
        values: the statement's bind parameters; gets those of the paths.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self._places: dict[Path, int] = {}
        self._numbers: dict[Path, int] = {}

    def value(self, path: Path) -> sql.Composable:
        """The value at the path as `jsonb`; NULL for null and without a value."""
        return sql.Identifier(f"value_{self._places.setdefault(path, len(self._places))}")

    def numeric(self, path: Path) -> sql.Composable:
        """The number at the path as `numeric`; NULL without one."""
        self.value(path)
        place = self._numbers.setdefault(path, self._places[path])
        return sql.Identifier(f"number_{place}")

    def typed(self, path: Path, value_type: type[str | int | float | bool]) -> sql.Composable:
        """The value of this type at the path; NULL without one. Whole numbers are floats too."""
        if value_type is str:
            return payload_sql.text_of(self.value(path))
        if value_type is bool:
            return payload_sql.boolean_of(self.value(path))
        numeric = self.numeric(path)
        return payload_sql.integer_of(numeric) if value_type is int else payload_sql.double_of(numeric)

    def scalar_key(self, path: Path) -> tuple[sql.Composable, sql.Composable, sql.Composable]:
        """Three columns to group and sort by the scalar at the path."""
        return payload_sql.scalar_key_of(self.value(path), self.numeric(path))

    @property
    def columns(self) -> sql.Composable:
        """The values, to select from the events, each after a comma."""
        return sql.Composed(list(self._columns()))

    def _columns(self) -> Iterator[sql.Composable]:
        for path in self._places:
            yield sql.SQL(", {} AS {}").format(payload_sql.value(path, self._values), self.value(path))

    def read(self, found: sql.Composable) -> sql.Composable:
        """The statement `found`, which selects `columns`, with the numbers among their values."""
        if not self._places:
            return found
        numbers = [
            sql.SQL(", {} AS {}").format(payload_sql.numeric_of(self.value(path)), self.numeric(path))
            for path in self._numbers
        ]
        if not numbers:
            return sql.SQL("{} {}").format(found, _ONCE)
        return _NUMBERS.format(numbers=sql.Composed(numbers), found=found, once=_ONCE)
