"""`Metric`: a figure that a feature declares: a count, sum, average, quantile, list of distinct values, ratio, …"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from functions.shared.catalog.names import is_field_name
from functions.shared.catalog.payload_type import PayloadType, describe, type_at

type MetricKind = Literal["count", "sum", "avg", "min", "max", "quantile", "distinct", "ratio"]

MAX_DISTINCT = 1000
"""Number of distinct values that a metric lists: the first ones in their order."""

MAX_ADDEND = 1e300
"""Doubles of this size or larger are not added up: one payload, or a few, would make a sum infinite."""

MAX_MEASURED = 1e30
"""Numbers of this size or larger have no part in averages, quantiles and exact totals."""

MEASURED_DECIMALS = 40
"""Decimal places of the numbers in averages and exact totals; further places are cut off."""

MAX_UNIT = 16
"""Number of characters that a unit may have."""

_NUMBERS = (int, float)

# Types that a metric's payload key may have.
_KEY_TYPES: dict[MetricKind, tuple[type, ...]] = {
    "sum": _NUMBERS,
    "avg": _NUMBERS,
    "min": _NUMBERS,
    "max": _NUMBERS,
    "quantile": _NUMBERS,
    "distinct": (str, int, float, bool, datetime),
}
_NUMERIC: tuple[MetricKind, ...] = ("count", "sum")


class Metric(msgspec.Struct, frozen=True):
    """A metric that a feature declares of its events.

    Attributes:
        name: the metric's field in GraphQL.
        kind: `count`: number of events; `sum`: sum of the numbers at `path`; `avg`, `min`, `max`, `quantile`: their
            average, least, greatest, or interpolated quantile, null without any; `distinct`: distinct values at
            `path`; `ratio`: the first metric of `of` divided by the second, null if the second is 0.
        events: names of the events to measure; empty for all of the feature's, deprecated ones included.
        path: payload key, or keys joined by dots; empty for `count` and `ratio`.
        of: names of the two metrics of a ratio; empty for the other kinds.
        description: text for the schema.
        level: of a quantile, from 0 to 1; 0.5 is the median.
        unit: what the numbers count, like `ms` or `EUR`; empty if nothing says so.
    """

    name: str
    kind: MetricKind
    events: tuple[str, ...] = ()
    path: str = ""
    of: tuple[str, ...] = ()
    description: str = ""
    level: float = 0.0
    unit: str = ""


def declared_metric(
    name: str,
    *,
    events: Sequence[str] | None,
    path_of_kind: Mapping[MetricKind, str | None],
    quantile: float | None,
    of: str | None,
    ratio: Sequence[str] | None,
    unit: str,
    description: str,
) -> Metric:
    """The metric with these arguments. `metric_problems` later checks that the names in it exist.

    Args:
        path_of_kind: the payload key for each kind that takes nothing but a key; None for the kinds not given.

    Raises:
        ValueError: the name is not a GraphQL field name, or the arguments are contradictory.
    """
    if not is_field_name(name):
        raise ValueError(f"metric {name!r} is not a name that GraphQL allows, beginning in lower case")
    paths: dict[MetricKind, str] = {kind: path for kind, path in path_of_kind.items() if path is not None}
    if len(paths) + (quantile is not None) + (ratio is not None) > 1:
        raise ValueError(f"metric {name!r} takes only one of sum, avg, min, max, quantile, distinct and ratio")
    if isinstance(events, str) or (events is not None and not events):
        raise ValueError(f"metric {name!r}: events must be a list of at least one name")
    if unit and (len(unit) > MAX_UNIT or not unit.isprintable() or unit != unit.strip()):
        raise ValueError(f"metric {name!r}: a unit is a short word like ms or EUR, not {unit!r}")
    if unit and "distinct" in paths:
        raise ValueError(f"metric {name!r} lists values, which takes no unit")
    named = tuple(dict.fromkeys(events or ()))
    if ratio is not None:
        if named:
            raise ValueError(f"metric {name!r} is a ratio: set events on its two metrics instead")
        if isinstance(ratio, str) or len(ratio) != 2:
            raise ValueError(f"metric {name!r}: ratio must name two metrics")
        return Metric(name, "ratio", of=tuple(ratio), description=description, unit=unit)
    level = _level(name, quantile, of)
    if of is not None:
        return Metric(name, "quantile", named, of, description=description, level=level, unit=unit)
    for kind, path in paths.items():
        return Metric(name, kind, named, path, description=description, unit=unit)
    return Metric(name, "count", named, description=description, unit=unit)


def _level(name: str, quantile: float | None, of: str | None) -> float:
    """The level of a quantile; 0 without one."""
    if (quantile is None) != (of is None):
        raise ValueError(f'metric {name!r}: quantile and of belong together, like quantile=0.95, of="duration_ms"')
    if quantile is None:
        return 0.0
    if type(quantile) not in (int, float) or not 0 <= quantile <= 1:
        raise ValueError(f"metric {name!r}: quantile must be a number from 0 to 1, not {quantile!r}")
    return float(quantile)


def value_type(payload_types: Mapping[str, PayloadType], keys: str) -> type[str | int | float | bool]:
    """The type of the values at a path of keys; str for a timestamp too, which is stored as a string."""
    key_type = type_at(payload_types, keys)
    return key_type if isinstance(key_type, type) and key_type in (int, float, bool) else str


def metric_problems(
    metrics: Mapping[str, Metric], events: Collection[str], payload_types: Mapping[str, PayloadType]
) -> Iterator[str]:
    """A line for each event, payload key or metric that a metric names and the feature does not have."""
    for metric in metrics.values():
        for name in metric.events:
            if name not in events:
                yield f"metric {metric.name!r} names the unknown event {name!r}"
        for name in metric.of:
            if name not in metrics or metrics[name].kind not in _NUMERIC:
                yield f"metric {metric.name!r} is a ratio of {name!r}, which is neither a count nor a sum"
        if metric.kind in _KEY_TYPES:
            yield from _key_problems(metric, type_at(payload_types, metric.path))


def _key_problems(metric: Metric, key_type: PayloadType | None) -> Iterator[str]:
    allowed = _KEY_TYPES[metric.kind]
    if key_type is None:
        yield f"metric {metric.name!r} names the payload key {metric.path!r}, which the payload class does not declare"
    elif key_type not in allowed:
        types = " or ".join(map(describe, allowed))
        yield f"metric {metric.name!r} needs a key of type {types}, but {metric.path!r} is {describe(key_type)}"
