"""Checks that no two definitions use one name or id, and that none uses a name of the fixed GraphQL schema."""

from collections.abc import Iterable, Iterator, Sequence

from functions.shared import canary
from functions.shared.catalog.feature import Feature
from functions.shared.catalog.names import enum_value, event_count_field, is_field_name, upper_snake_case
from functions.shared.catalog.reserved_ids import ReservedIds
from functions.shared.catalog.users_count import UsersCount

# Names of the fixed schema: fields of `AiUsageData`, of an event, of `AiMetrics` and `AiUserMetrics`, of each feature's
# metrics type; sort orders of users; types.
DATA_FIELDS = frozenset({"all", "id"})
EVENT_FIELDS = frozenset(
    {"id", "nodeId", "timestamp", "event", "user", "namespacePath", "projectId", "payload", "extras"}
)
# Payload keys that share the name of an event's field; these get no field of their own.
KEYS_WITHOUT_FIELD = frozenset({"project_id"})
METRICS_FIELDS = frozenset({"featuresCount", "lastDuoActivityOn", "totalEventCount", "user", "usersCount"})
FEATURE_METRICS_FIELDS = frozenset({"contributorsCount", "totalEventCount"})
USER_SORTS = frozenset({"TOTAL_EVENT_COUNT"})
OWN_NAMES = frozenset({canary.NAME})  # of a feature and its event that no definition has
TYPES = frozenset(
    {
        "AiActiveUsers",
        "AiAdoption",
        "AiIdleSeat",
        "AiIdleSeatConnection",
        "AiIdleSeatEdge",
        "AiMetrics",
        "AiSeats",
        "AiSessions",
        "AiTimeToFirstUse",
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
        "AiUsagePeriod",
        "AiUsageRatio",
        "AiUsageRow",
        "AiUsageTier",
        "AiUserLifecycle",
        "AiUserMetrics",
        "AiUserMetricsConnection",
        "AiUserMetricsEdge",
        "AiUserMetricsSort",
        "AiUserRetention",
        "AiUserRetentionPeriod",
        "Boolean",
        "CanaryEvent",
        "Date",
        "EventDefinition",
        "Float",
        "ID",
        "Int",
        "JSON",
        "Long",
        "MetricDefinition",
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


def name_problems(
    features: Iterable[Feature], users_counts: Sequence[UsersCount] = (), reserved_ids: Sequence[ReservedIds] = ()
) -> Iterator[str]:
    """A line for each name or id that is reserved or used twice."""
    files_by_name: dict[tuple[str, object], list[str]] = {}
    for feature in features:
        for kind, name, reserved in _used_names(feature):
            if name in reserved:
                yield f"{feature.file}: {kind} {name!r} is reserved"
            files_by_name.setdefault((kind, name), []).append(feature.file)
    for count in users_counts:
        if not is_field_name(count.name):
            yield f"{count.file}: metric {count.name!r} is not a name that GraphQL allows, beginning in lower case"
        if count.name in METRICS_FIELDS:
            yield f"{count.file}: metric {count.name!r} is reserved"
        files_by_name.setdefault(("metric", count.name), []).append(count.file)
    for (kind, name), files in files_by_name.items():
        if len(files) > 1:
            yield f"{kind} {name!r} is defined more than once, in {' and '.join(sorted(set(files)))}"
    for reserved_by in reserved_ids:
        for event_id in reserved_by.ids:
            for file in files_by_name.get(("event id", event_id), ()):
                yield f"{file}: event id {event_id} is reserved in {reserved_by.file}: {reserved_by.reason}"


def _used_names(feature: Feature) -> Iterator[tuple[str, object, frozenset[str]]]:
    """Each name or id that the feature uses: its kind, the name, and the reserved names of that kind."""
    for feature_name in (feature.name, *feature.former_names):
        yield "feature", feature_name, OWN_NAMES
        yield "GraphQL enum value of a feature", enum_value(feature_name), frozenset()
    for field in (*feature.connection_fields, *feature.resolvers):
        yield "GraphQL field", field, DATA_FIELDS
    for type_name in feature.type_names():
        yield "GraphQL type", type_name, TYPES
    for field in (*feature.metrics_fields, *feature.metrics_beside_feature, *feature.assigned_users_fields):
        yield "metric", field, METRICS_FIELDS
    yield from (("order of users", name, USER_SORTS) for name in _orders(feature))
    of_sessions = feature.session_metrics_declared.fields if feature.session_metrics_declared else ()
    for name in (*feature.metrics, *of_sessions):
        yield f"metric of {feature.name}", name, FEATURE_METRICS_FIELDS
    for name, event_id in feature.all_ids.items():
        yield "event", name, OWN_NAMES
        yield "event id", event_id, frozenset()
        yield "GraphQL enum value", enum_value(name), frozenset()
        yield f"metric of {feature.name}", event_count_field(name), FEATURE_METRICS_FIELDS


def _orders(feature: Feature) -> Iterator[str]:
    """The names of the feature's orders of users. A metric beside the feature may have the name of its own order."""
    own = (*sorted(FEATURE_METRICS_FIELDS), *feature.metrics, *map(event_count_field, feature.all_ids))
    orders = [upper_snake_case(f"{field}_{name}") for field in feature.metrics_fields for name in own]
    same = {upper_snake_case(f"{feature.metrics_field}_{name}"): name for name in own}
    yield from orders
    for field, metric in feature.metrics_beside_feature.items():
        if same.get(upper_snake_case(field)) != metric:
            yield upper_snake_case(field)
