"""Figures that a feature declares of its events."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from functions.shared.catalog.names import is_field_name
from functions.shared.catalog.payload_type import PayloadType, describe, type_at

type MetricKind = Literal["count", "sum", "distinct", "ratio"]

# What the key of a metric may hold; a moment is stored as a string.
_KEY_TYPES: dict[MetricKind, tuple[type, ...]] = {"sum": (int, float), "distinct": (str, int, float, bool, datetime)}
_NUMERIC: tuple[MetricKind, ...] = ("count", "sum")


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that a feature declares of its events.

    Attributes:
        name: its field in GraphQL.
        kind: `count`: how many events there are; `sum`: the total of the numbers at `path`; `distinct`: the different
            values at `path`; `ratio`: the first metric of `of` by the second, nothing where the second is 0.
        events: the names of the events it is about; empty for all of the feature's, deprecated ones included.
        path: the payload key, or the keys with dots between them; empty where the kind has none.
        of: the names of the two metrics of a ratio; empty for the other kinds.
        description: what it says, for the schema.
    """

    name: str
    kind: MetricKind
    events: tuple[str, ...] = ()
    path: str = ""
    of: tuple[str, ...] = ()
    description: str = ""


def declared_metric(
    name: str,
    *,
    events: Sequence[str] | None,
    total_of: str | None,
    distinct: str | None,
    ratio: Sequence[str] | None,
    description: str,
) -> Metric:
    """The metric that a definition declares; whether the feature has what it names is not looked at.

    Raises:
        ValueError: it has no usable name, or is not of exactly one kind.
    """
    if not is_field_name(name):
        raise ValueError(f"metric {name!r} is not a name that GraphQL allows, beginning in lower case")
    if sum(given is not None for given in (total_of, distinct, ratio)) > 1:
        raise ValueError(f"metric {name!r} is more than one of sum, distinct and ratio")
    if isinstance(events, str) or (events is not None and not events):
        raise ValueError(f"the events of metric {name!r} are not a list of names")
    named = tuple(dict.fromkeys(events or ()))
    if ratio is not None:
        if named:
            raise ValueError(f"metric {name!r} is a ratio: its two metrics say of which events")
        if isinstance(ratio, str) or len(ratio) != 2:
            raise ValueError(f"the ratio of metric {name!r} is not of two metrics")
        return Metric(name, "ratio", of=tuple(ratio), description=description)
    if total_of is not None:
        return Metric(name, "sum", named, total_of, description=description)
    if distinct is not None:
        return Metric(name, "distinct", named, distinct, description=description)
    return Metric(name, "count", named, description=description)


def metric_problems(
    metrics: Mapping[str, Metric], events: Collection[str], payload_types: Mapping[str, PayloadType]
) -> Iterator[str]:
    """What the metrics of a feature name that it does not have: its events, payload keys or other metrics."""
    for metric in metrics.values():
        for name in metric.events:
            if name not in events:
                yield f"metric {metric.name!r} names the unknown event {name!r}"
        for name in metric.of:
            if name not in metrics or metrics[name].kind not in _NUMERIC:
                yield f"metric {metric.name!r} is a ratio of {name!r}, which is no count and no sum of the feature"
        if metric.kind in _KEY_TYPES:
            yield from _key_problems(metric, type_at(payload_types, metric.path))


def _key_problems(metric: Metric, key_type: PayloadType | None) -> Iterator[str]:
    allowed = _KEY_TYPES[metric.kind]
    if key_type is None:
        yield f"metric {metric.name!r} names the payload key {metric.path!r}, which the feature's class does not have"
    elif key_type not in allowed:
        names = ", ".join(map(describe, allowed))
        yield f"metric {metric.name!r} needs one of {names}: the payload key {metric.path!r} is {describe(key_type)}"
