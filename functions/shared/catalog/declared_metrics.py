"""`DeclaredMetrics`: the metrics that a feature declares, and how they are selected and named in GraphQL."""

from collections.abc import Sequence

from functions.shared.catalog.definition_error import DefinitionError
from functions.shared.catalog.metric import Metric, declared_metric
from functions.shared.catalog.metrics_argument import MetricsArgument, declared_argument


class DeclaredMetrics:
    """What a `Feature` declares of its metrics.

    Attributes:
        file: file of the definition, for messages.
        metrics: metrics by name.
        metrics_arguments: arguments of the field with the feature's metrics, by name.
        metrics_beside_feature: metrics by the names of the fields that answer them beside the feature's.
    """

    file: str
    metrics_arguments: dict[str, MetricsArgument]

    def __init__(self) -> None:
        self.metrics: dict[str, Metric] = {}
        self.metrics_beside_feature: dict[str, str] = {}

    def metric(
        self,
        name: str,
        *,
        events: Sequence[str] | None = None,
        sum: str | None = None,  # noqa: A002 (the word that teams write)
        avg: str | None = None,
        min: str | None = None,  # noqa: A002
        max: str | None = None,  # noqa: A002
        quantile: float | None = None,
        of: str | None = None,
        distinct: str | None = None,
        ratio: Sequence[str] | None = None,
        unit: str = "",
        description: str = "",
    ) -> None:
        """Declares a metric of the feature's events: their count, or what one of the further arguments says.

        The events and metrics named may be declared later.

        Args:
            name: the metric's field in GraphQL.
            events: names of the events to measure; by default all of the feature's, deprecated ones included.
            sum: payload key whose numbers are added up, or keys joined by dots.
            avg: likewise, for the average of the numbers.
            min: likewise, for the least of the numbers.
            max: likewise, for the greatest of the numbers.
            quantile: level of the quantile of the numbers at `of`, from 0 to 1; 0.5 is the median.
            of: payload key of the quantile, or keys joined by dots.
            distinct: payload key whose distinct values are listed, or keys joined by dots.
            ratio: names of two counts or sums of the feature: dividend and divisor.
            unit: what the number is in, which the dashboard shows beside it: `ms`, `lines`, or a currency like `EUR`.

        Raises:
            DefinitionError: the name is not a GraphQL field name or is taken, or the arguments are of two kinds.
        """
        try:
            metric = declared_metric(
                name,
                events=events,
                path_of_kind={"sum": sum, "avg": avg, "min": min, "max": max, "distinct": distinct},
                quantile=quantile,
                of=of,
                ratio=ratio,
                unit=unit,
                description=description,
            )
        except ValueError as error:
            raise DefinitionError(f"{self.file}: {error}") from error
        if name in self.metrics:
            raise DefinitionError(f"{self.file}: metric {name!r} is declared twice")
        self.metrics[name] = metric

    def metrics_argument(self, name: str, *, key: str, description: str = "") -> None:
        """Declares an argument of the field with the feature's metrics, which selects the events to measure.

        The argument takes a list, and selects events whose payload has one of its values. The argument `not` takes the
        same arguments, and leaves out the events that they select.

        Args:
            name: name of the argument in GraphQL.
            key: payload key of the values, or keys joined by dots.

        Raises:
            DefinitionError: the name is not a GraphQL name, or the feature already has an argument of that name.
        """
        try:
            argument = declared_argument(name, key, description)
        except ValueError as error:
            raise DefinitionError(f"{self.file}: {error}") from error
        if name in self.metrics_arguments:
            raise DefinitionError(f"{self.file}: metrics argument {name!r} is declared twice")
        self.metrics_arguments[name] = argument

    def metrics_beside(self, **metrics: str) -> None:
        """Declares fields of `AiMetrics` and `AiUserMetrics` that answer metrics of the feature under a name of theirs.

        A metric that counts users is a field of `AiMetrics` only.

            feature.metrics_beside(codeSuggestionsShownCount="shownCount")

        Args:
            metrics: names of the feature's metrics, built-in ones included, by the name of the field.

        Raises:
            DefinitionError: the feature already has such a field.
        """
        for field, metric in metrics.items():
            if field in self.metrics_beside_feature:
                raise DefinitionError(f"{self.file}: the metric {field!r} beside the feature is declared twice")
            self.metrics_beside_feature[field] = metric
