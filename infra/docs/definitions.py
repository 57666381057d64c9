"""Tables of the shipped definitions, and of the names that no definition may use."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from functions.shared.catalog import name_rules
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.metric import Metric
from functions.shared.catalog.payload_type import PayloadType, describe
from functions.shared.catalog.registry import OVERRIDES, load
from functions.shared.catalog.source import Source
from infra.docs.markdown import code, codes, table


def events() -> str:
    """Returns a table of all events, by id."""
    rows = [
        [
            str(event.id),
            code(event.name),
            code(event.feature.name),
            event.feature.owner,
            "yes" if event.deprecated else "",
        ]
        for _, event in sorted(load().by_id.items())
    ]
    return table(["id", "event", "feature", "owner", "deprecated"], rows)


def payloads() -> str:
    """Returns a table for each feature that declares payload keys or metrics."""
    parts = []
    for feature in load().features.values():
        sources = {key: code(".".join(found.path)) for key, found in _sources(feature)}
        keys = [[code(path), describe(kept), sources.get(path, "")] for path, kept in _paths(feature.payload_types)]
        metrics = [[code(metric.name), _kind(metric), metric.description] for metric in feature.metrics.values()]
        if keys or metrics:
            parts.append(f"### {feature.name}\n\n{feature.description}\n")
        if keys:
            parts.append(table(["payload key", "type", "sent as"], keys))
        if metrics:
            parts.append(table(["metric", "what it is", "description"], metrics))
    return "\n".join(parts)


def reserved_names() -> str:
    """Returns a table of the names that the GraphQL schema reserves."""
    rows = [
        ["a field of `AiUsageData`", codes(sorted(name_rules.DATA_FIELDS))],
        ["a payload key", codes(sorted({*OVERRIDES, *name_rules.EVENT_FIELDS}))],
        ["a feature's name in camelCase", codes(sorted(name_rules.METRICS_FIELDS))],
        ["a metric", codes(sorted(name_rules.FEATURE_METRICS_FIELDS))],
        ["a GraphQL type", codes(sorted(name_rules.TYPES))],
    ]
    return table(["what is named", "names that are taken"], rows)


def _sources(feature: Feature) -> Iterable[tuple[str, Source]]:
    """Where the payload keys are in an event, if functions compute none of them."""
    return feature.payload.sources().items() if feature.payload and not feature.transformations else ()


def _paths(types: Mapping[str, PayloadType], prefix: str = "") -> Iterator[tuple[str, PayloadType]]:
    for key, kept in types.items():
        yield f"{prefix}{key}", kept
        if isinstance(kept, dict):
            yield from _paths(kept, f"{prefix}{key}.")


def _kind(metric: Metric) -> str:
    of: dict[str, Any] = {
        "count": "number of events",
        "sum": f"total of {code(metric.path)}",
        "avg": f"average of {code(metric.path)}",
        "min": f"least {code(metric.path)}",
        "max": f"greatest {code(metric.path)}",
        "quantile": f"{metric.level:g} quantile of {code(metric.path)}",
        "distinct": f"different values of {code(metric.path)}",
        "ratio": " divided by ".join(map(code, metric.of)),
    }
    unit = f" in {metric.unit}" if metric.unit else ""
    return f"{of[metric.kind]}{' of ' + codes(metric.events) if metric.events else ''}{unit}"
