"""Reads metrics that a function emits in CloudWatch's embedded metric format."""

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Emitted(NamedTuple):
    """The values of a metric in one line."""

    name: str
    dimensions: Mapping[str, str]
    values: tuple[float, ...]


def emitted(output: str) -> Iterator[Emitted]:
    """Yields each metric in a function's output, once for each of its sets of dimensions."""
    for line in output.splitlines():
        if "CloudWatchMetrics" not in line:
            continue
        content = json.loads(line)
        (directive,) = content["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "AiUsageEvents"
        for names in directive["Dimensions"]:
            dimensions = {name: content[name] for name in names}
            for metric in directive["Metrics"]:
                value = content[metric["Name"]]
                yield Emitted(metric["Name"], dimensions, tuple(value) if isinstance(value, list) else (value,))


def metrics(output: str) -> dict[str, float]:
    """Returns the newest value of each metric in a function's output."""
    return {one.name: one.values[-1] for one in emitted(output)}
