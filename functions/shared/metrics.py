"""Emits metrics in CloudWatch's embedded metric format: one line on the standard output for the values of a batch.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

CloudWatch makes metrics of the line, so that a function calls nothing. Powertools does the same, but importing its
metrics takes a tenth of a function's start, and it has one set of dimensions only.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import batched
from typing import Any, Literal, NamedTuple

import msgspec

NAMESPACE = "AiUsageEvents"
MAX_VALUES = 100
"""CloudWatch takes at most so many values of a metric from one line."""

type Unit = Literal["Bytes", "Count", "Milliseconds", "Percent", "Seconds"]

type Values = Mapping["Metric", float | Sequence[float]]
"""The value of each metric; several values if each counts by itself, like the ages of several messages."""


class Metric(NamedTuple):
    """A metric of a function."""

    name: str
    unit: Unit
    meaning: str


_NOTHING: Mapping[str, str] = {}


def emit(
    values: Values,
    by: Mapping[str, str] = _NOTHING,
    *,
    only_by: bool = False,
    at: float | None = None,
    **properties: object,
) -> None:
    """Writes the values; writes nothing if there are none.

    Args:
        by: further dimensions. The values then count twice: with these dimensions and without them. CloudWatch charges
            for each combination of dimensions, so a dimension has few values.
        only_by: whether the values count with `by` only, because they were counted without it.
        at: when the values count, in seconds since 1970; None for now.
        properties: what the line says beside the metrics, for queries of the log.
    """
    if not values:
        return
    of_function = _dimensions()
    sets = [[*of_function, *by]] if by else []
    if not only_by:
        sets.insert(0, list(of_function))
    definitions = [{"Name": metric.name, "Unit": metric.unit} for metric in values]
    directive = {"Namespace": NAMESPACE, "Dimensions": sets, "Metrics": definitions}
    about = {"_aws": {"Timestamp": int((time.time() if at is None else at) * 1000), "CloudWatchMetrics": [directive]}}
    for some in _in_lines({metric.name: value for metric, value in values.items()}):
        line: dict[str, Any] = about | of_function | dict(by) | properties | some
        directive["Metrics"] = [metric for metric in definitions if metric["Name"] in some]
        sys.stdout.write(f"{msgspec.json.encode(line).decode()}\n")
    sys.stdout.flush()


def _dimensions() -> dict[str, str]:
    """Returns the dimensions of all metrics of this function: its stack, and its name within the stack."""
    named = {"stack": os.environ.get("STACK_NAME"), "service": os.environ.get("POWERTOOLS_SERVICE_NAME")}
    return {name: value for name, value in named.items() if value}


def _in_lines(values: Mapping[str, float | Sequence[float]]) -> Iterator[dict[str, float | Sequence[float]]]:
    """Yields the values that one line takes, then the further values of metrics with more than that."""
    first: dict[str, float | Sequence[float]] = {}
    more: list[dict[str, float | Sequence[float]]] = []
    for name, value in values.items():
        if isinstance(value, Sequence) and len(value) > MAX_VALUES:
            head, *rest = batched(value, MAX_VALUES, strict=False)
            first[name] = head
            more += [{name: some} for some in rest]
        else:
            first[name] = value
    yield first
    yield from more
