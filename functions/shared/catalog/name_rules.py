"""Checks that no two definitions use one name or id, and that none uses a name of the fixed GraphQL schema."""

from collections.abc import Iterable, Iterator

from functions.shared.catalog.feature import Feature
from functions.shared.catalog.names import enum_value, event_count_field, upper_snake_case

# Names of the fixed schema: fields of `AiUsageData`, of an event, of `AiMetrics` and `AiUserMetrics`, of each feature's
# metrics type; sort orders of users; types.
DATA_FIELDS = frozenset({"all", "id"})
EVENT_FIELDS = frozenset({"id", "nodeId", "timestamp", "event", "user", "namespacePath", "projectId", "payload"})
# Payload keys that share the name of an event's field; these get no field of their own.
KEYS_WITHOUT_FIELD = frozenset({"project_id"})
METRICS_FIELDS = frozenset(
    {
        "codeSuggestionsAcceptedCount",
        "duoChatInteractionsCount",
        "featuresCount",
        "lastDuoActivityOn",
        "totalEventCount",
        "user",
        "usersCount",
    }
)
FEATURE_METRICS_FIELDS = frozenset({"contributorsCount", "totalEventCount"})
USER_SORTS = frozenset({"DUO_CHAT_INTERACTIONS_COUNT", "TOTAL_EVENT_COUNT"})
TYPES = frozenset(
    {
        "AiMetrics",
        "AiUsageCount",
        "AiUsageData",
        "AiUsageDimension",
        "AiUsageDirection",
        "AiUsageEvent",
        "AiUsageEventConnection",
        "AiUsageEventEdge",
        "AiUsageEventType",
        "AiUsageExclusion",
        "AiUsageFeature",
        "AiUsageHaving",
        "AiUsageMeasure",
        "AiUsageMeasureOrder",
        "AiUsageMeasureValue",
        "AiUsageOrder",
        "AiUsageRatio",
        "AiUsageRow",
        "AiUserMetrics",
        "AiUserMetricsConnection",
        "AiUserMetricsEdge",
        "AiUserMetricsSort",
        "Boolean",
        "Date",
        "EventDefinition",
        "Float",
        "ID",
        "Int",
        "JSON",
        "Long",
        "Mutation",
        "Namespace",
        "Node",
        "PageInfo",
        "PayloadFilter",
        "PayloadKey",
        "Query",
        "String",
        "Subscription",
        "Time",
        "User",
    }
)


def name_problems(features: Iterable[Feature]) -> Iterator[str]:
    """A line for each name or id that is reserved or used twice."""
    features_by_name: dict[tuple[str, object], list[Feature]] = {}
    for feature in features:
        for kind, name, reserved in _used_names(feature):
            if name in reserved:
                yield f"{feature.file}: {kind} {name!r} is reserved"
            features_by_name.setdefault((kind, name), []).append(feature)
    for (kind, name), users in features_by_name.items():
        if len(users) > 1:
            files = " and ".join(sorted({feature.file for feature in users}))
            yield f"{kind} {name!r} is defined more than once, in {files}"


def _used_names(feature: Feature) -> Iterator[tuple[str, object, frozenset[str]]]:
    """Each name or id that the feature uses: its kind, the name, and the reserved names of that kind."""
    yield "feature", feature.name, frozenset()
    yield "GraphQL enum value of a feature", feature.enum_value, frozenset()
    for field in (feature.field, *feature.resolvers):
        yield "GraphQL field", field, DATA_FIELDS
    for type_name in feature.type_names():
        yield "GraphQL type", type_name, TYPES
    yield "metric", feature.metrics_field, METRICS_FIELDS
    for name in (*sorted(FEATURE_METRICS_FIELDS), *feature.metrics, *map(event_count_field, feature.all_ids)):
        yield "order of users", upper_snake_case(f"{feature.metrics_field}_{name}"), USER_SORTS
    for name in feature.metrics:
        yield f"metric of {feature.name}", name, FEATURE_METRICS_FIELDS
    for name, event_id in feature.all_ids.items():
        yield "event", name, frozenset()
        yield "event id", event_id, frozenset()
        yield "GraphQL enum value", enum_value(name), frozenset()
        yield f"metric of {feature.name}", event_count_field(name), FEATURE_METRICS_FIELDS
