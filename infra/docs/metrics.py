"""The metrics that functions emit to CloudWatch."""

from collections.abc import Iterator, Mapping
from types import ModuleType

from functions.canary import canary_metrics
from functions.graphql import query_metrics
from functions.ingest import consumer_metrics, intake_metrics
from functions.retention import retention_metrics
from functions.retention.contract import contract_metrics
from functions.shared import database_health
from functions.shared.metrics import Metric
from functions.sync import sync_metrics
from infra.docs.markdown import code, table

_OF_FUNCTIONS: Mapping[str, tuple[ModuleType, ...]] = {
    "canary": (canary_metrics,),
    "consumer": (consumer_metrics,),
    "graphql": (query_metrics,),
    "ingest": (intake_metrics,),
    "retention": (retention_metrics, contract_metrics),
    "sync": (sync_metrics, database_health),
}

_ALSO_OF_THE_CONSUMER = {
    intake_metrics.ACCEPTED_EVENTS,
    intake_metrics.ACCEPTED_BYTES,
    intake_metrics.IGNORED_EVENTS,
    intake_metrics.REJECTED_EVENTS,
}


def emitted() -> Iterator[tuple[str, Metric]]:
    """Yields each function's metrics, with the function's name."""
    for function, modules in _OF_FUNCTIONS.items():
        for module in modules:
            for value in vars(module).values():
                if isinstance(value, Metric) and (function != "consumer" or value not in _ALSO_OF_THE_CONSUMER):
                    yield function, value
    for metric in _ALSO_OF_THE_CONSUMER:
        yield "consumer", metric


def metrics() -> str:
    """Returns a table of the metrics."""
    rows = {
        metric: [code(metric.name), metric.unit, ", ".join(sorted(_functions_of(metric))), metric.meaning]
        for _, metric in emitted()
    }
    return table(["metric", "unit", "function", "meaning"], sorted(rows.values()))


def _functions_of(metric: Metric) -> set[str]:
    return {function for function, one in emitted() if one == metric}
