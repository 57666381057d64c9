"""Tables of ClickHouse that hold rollups: what the events of each day add up to.

A rollup has rows in both tables. Each row carries the number of the build that made it, so that rows of builds that do
not count, or not any more, are told apart. `functions.shared.rollup_days` knows which build of a day counts.
"""

from collections.abc import Iterator

import msgspec

from functions.shared.catalog.metric import MAX_ADDEND, MAX_DISTINCT, value_type
from functions.shared.catalog.registry import Registry
from functions.shared.payload_value import DeclaredPaths, integers, number, value_at

TOTALS = "ai_usage_daily_totals"
"""A row for each day, event and scope: a namespace with all below it, or a project within one namespace."""

USERS = "ai_usage_daily_users"
"""A row for each day, event, user, namespace and project."""

WHOLE = "."
"""A scope that no event has: the row that shows that a build has all its rows, because they come in one block."""

FORMAT = "format 1"
"""A build of another format lacks this among its measures. A change of what a column holds needs another number."""

type ValueType = type[str | int | float | bool]

_COLUMN_TYPES: dict[ValueType, str] = {str: "String", int: "Int128", float: "Float64", bool: "Bool"}


class RollupMeasure(msgspec.Struct, frozen=True):
    """A sum, or the distinct values, at a payload path, which rollups have in a column of its own.

    Attributes:
        kind: `sum` or `distinct`.
        value_type: type of the values to measure; other values are left out.
    """

    kind: str
    path: tuple[str, ...]
    value_type: ValueType

    @property
    def column(self) -> str:
        """The name of the column, like `sum/int/job/size`. Keys in definitions are plain names without slashes."""
        return "/".join((self.kind, self.value_type.__name__, *self.path))

    @property
    def column_type(self) -> str:
        """The type of the column."""
        value = _COLUMN_TYPES[self.value_type]
        return value if self.kind == "sum" else f"Array({value})"

    def of_events(self, declared: DeclaredPaths) -> str:
        """The expression that computes the column from a group of events.

        Args:
            declared: payload paths that have a column of their own.

        Raises:
            ValueError: no column of the events has the value.
        """
        value = value_at(self.path, declared)
        if value is None:
            raise ValueError(f"no column has the payload path {'.'.join(self.path)}")
        if self.kind == "sum":
            if self.value_type is int:
                return " + ".join(f"ifNull(sum({one}), 0)" for one in integers(value))
            double = number(value)
            return f"ifNull(sum(if(abs({double}) < {MAX_ADDEND}, {double}, NULL)), 0)"
        values = {
            str: value.string,
            int: f"coalesce({', '.join(integers(value))})",
            float: number(value),
            bool: value.boolean,
        }
        # The first values of several groups are among the first values of each.
        return f"arraySlice(arraySort(groupUniqArray({values[self.value_type]})), 1, {MAX_DISTINCT})"


def rollup_measures(registry: Registry) -> tuple[RollupMeasure, ...]:
    """The measures of all metrics that the definitions declare."""
    return tuple(sorted(set(_measures(registry)), key=lambda measure: measure.column))


def _measures(registry: Registry) -> Iterator[RollupMeasure]:
    for feature in registry.features.values():
        for metric in feature.metrics.values():
            if metric.kind in ("sum", "distinct"):
                path = tuple(metric.path.split("."))
                yield RollupMeasure(metric.kind, path, value_type(feature.payload_types, metric.path))
