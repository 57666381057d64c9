"""`RowPlaces`: the places of the rows of `aiUsage`, as cursors."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from functions.graphql.query.aggregation import Dimension, GroupPosition, Measure, Order
from functions.graphql.query.cut_text import cut, cut_at
from functions.graphql.query.errors import InvalidArgument
from functions.graphql.query.scalar import key_of_scalar
from functions.graphql.types.cursor import from_row_cursor, to_row_cursor

_COLUMN_TYPES: dict[Dimension, Any] = {
    Dimension.FEATURE: str,
    Dimension.EVENT: int,
    Dimension.USER: int,
    Dimension.NAMESPACE: str,
    Dimension.PROJECT: int,
    Dimension.DAY: date,
    Dimension.WEEK: date,
    Dimension.MONTH: date,
}


class RowPlaces:
    """The places of rows among those of one aggregation, as cursors.

    Args:
        texts: the paths of the aggregation, as the query writes them.
    """

    def __init__(self, dimensions: Sequence[Dimension], texts: Sequence[str], order: Sequence[Order]) -> None:
        self._dimensions = dimensions
        self._texts = texts
        self._order = order
        self._shape = repr((dimensions, texts, order)).encode()

    def cursor(
        self, keys: Mapping[Dimension, Any], payload: Mapping[str, Any], values_of: Mapping[Measure, Any]
    ) -> str:
        """The cursor of a row.

        Args:
            payload: the values at the paths.
        """
        columns = {dimension: _column(dimension, keys[dimension]) for dimension in self._dimensions}
        values = [
            columns[each.by] if isinstance(each.by, Dimension) else _ordered(each.by, values_of[each.by])
            for each in self._order
        ]
        values += columns.values()
        for text in self._texts:
            kind, number, written = key_of_scalar(payload[text])
            values += [kind, number, *cut(written, cut_at(self._texts))]
        return to_row_cursor(self._shape, values)

    def position(self, cursor: str | None) -> GroupPosition | None:
        """The position of a cursor; None without one.

        Raises:
            InvalidArgument: the cursor belongs to other rows.
        """
        if cursor is None:
            return None
        types: list[Any] = [
            _COLUMN_TYPES[each.by] if isinstance(each.by, Dimension) else float if each.by.is_double else Decimal
            for each in self._order
        ]
        types += [_COLUMN_TYPES[dimension] for dimension in self._dimensions]
        types += [int, float, str, str] * len(self._texts)
        try:
            values = from_row_cursor(self._shape, types, cursor)
        except ValueError as error:
            raise InvalidArgument(f"after is not a cursor of these rows: {error}.") from None
        return GroupPosition(values[: len(self._order)], values[len(self._order) :])


def _column(dimension: Dimension, key: Any) -> Any:
    """The key as the stores have it."""
    return _COLUMN_TYPES[dimension]() if key is None else key


def _ordered(measure: Measure, value: Any) -> Any:
    return value if value is None or measure.is_double else Decimal(value)
