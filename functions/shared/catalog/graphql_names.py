"""`GraphqlNames`: the names of fields, types and enum values that the GraphQL schema has for a feature."""

from collections.abc import Sequence

import msgspec

from functions.shared.catalog.metrics_argument import MetricsArgument
from functions.shared.catalog.names import camel_case, enum_value, pascal_case
from functions.shared.catalog.payload import Payload
from functions.shared.catalog.payload_type import nested_classes
from functions.shared.catalog.session_metrics import SessionMetrics


class GraphqlNames:
    """What a `Feature` is called in GraphQL. The arguments are those of the feature.

    Attributes:
        metrics_arguments: arguments of the field with the feature's metrics, by name.
        session_metrics_declared: fields with figures of sessions; None without any.
    """

    def __init__(
        self,
        name: str,
        payload: type[Payload] | None,
        field: str | None,
        former_names: Sequence[str],
        field_aliases: Sequence[str],
        metrics_aliases: Sequence[str],
    ) -> None:
        self.name = name
        self.payload = payload
        self.field = field or f"{camel_case(name)}Events"
        self.type_name = f"{payload.__name__ if payload else pascal_case(name)}Event"
        self.connection_type_name = f"{self.type_name}Connection"
        self.edge_type_name = f"{self.type_name}Edge"
        self.metrics_field = camel_case(name)
        self.former_names = tuple(former_names)
        self.field_aliases = tuple(field_aliases)
        self.metrics_aliases = tuple(metrics_aliases)
        self.metrics_type_name = f"{pascal_case(name)}Metrics"
        self.enum_value = enum_value(name)
        self.metrics_arguments: dict[str, MetricsArgument] = {}
        self.session_metrics_declared: SessionMetrics | None = None

    @property
    def connection_fields(self) -> dict[str, str]:
        """The fields of `AiUsageData` that list the events, each with the reason of its deprecation; empty if none."""
        former = {f"{camel_case(name)}Events": f"Use `{self.field}`." for name in self.former_names}
        return former | dict.fromkeys((self.field, *self.field_aliases), "")

    @property
    def metrics_fields(self) -> dict[str, str]:
        """The fields with the metrics, each with the reason of its deprecation; empty if none."""
        former = {camel_case(name): f"Use `{self.metrics_field}`." for name in self.former_names}
        return dict.fromkeys((self.metrics_field, *self.metrics_aliases), "") | former

    @property
    def sessions_type_name(self) -> str:
        """Name of the GraphQL type of a group of sessions; of no use without session metrics."""
        declared = self.session_metrics_declared
        return f"{pascal_case(self.name)}{pascal_case(declared.field) if declared else ''}"

    @property
    def user_sessions_type_name(self) -> str:
        """Name of the GraphQL type of a user's group of sessions; of no use without such a field."""
        declared = self.session_metrics_declared
        return f"{pascal_case(self.name)}{pascal_case(declared.users_field or '') if declared else ''}"

    @property
    def metrics_filter_type_name(self) -> str:
        """Name of the GraphQL type of the argument `not`."""
        return f"{self.metrics_type_name}Filter"

    @property
    def former_type_names(self) -> dict[str, tuple[str, ...]]:
        """Names that the types of the feature's events and metrics had under former names of the feature."""
        names = [pascal_case(name) for name in self.former_names]
        return {
            type_name: tuple(former for name in names if (former := f"{name}{suffix}") != type_name)
            for type_name, suffix in ((self.type_name, "Event"), (self.metrics_type_name, "Metrics"))
        }

    def nested_type_name(self, nested: type[msgspec.Struct]) -> str:
        """Name of the GraphQL type for a class nested in the payload."""
        return f"{self.type_name}{nested.__name__}"

    def type_names(self) -> tuple[str, ...]:
        """Names of all GraphQL types of the feature; a name repeats if two nested payload classes share it."""
        nested = map(self.nested_type_name, nested_classes(self.payload) if self.payload else ())
        own = (self.type_name, self.connection_type_name, self.edge_type_name, self.metrics_type_name)
        former = (name for names in self.former_type_names.values() for name in names)
        declared = self.session_metrics_declared
        of_sessions = [self.sessions_type_name] if declared else []
        if declared and declared.users_field:
            name = self.user_sessions_type_name
            of_sessions += [name, f"{name}Connection", f"{name}Edge"]
        filters = [self.metrics_filter_type_name] if self.metrics_arguments else []
        return (*own, *former, *filters, *of_sessions, *nested)
