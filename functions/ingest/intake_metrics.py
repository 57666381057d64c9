"""Counts accepted events and their unpacked bytes for each tenant, and events of erased users and namespaces.

The tenant is a property of the line in CloudWatch's embedded metric format, not a metric dimension: CloudWatch charges
for each metric and dimension value, and there may be thousands of tenants. The log has the numbers of each tenant.
"""

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

metrics = Metrics(namespace="AiUsageEvents")


def count(tenant: str, events: int, size: int) -> None:
    """Writes a metric line for the accepted events of one tenant; writes nothing if there are none.

    Args:
        tenant: name from `tenant_of`, or `QUEUE`.
        size: unpacked bytes of the events.
    """
    if not events:
        return
    metrics.add_metadata("tenant", tenant)
    metrics.add_metric("AcceptedEvents", MetricUnit.Count, events)
    metrics.add_metric("AcceptedBytes", MetricUnit.Bytes, size)
    metrics.flush_metrics()


def count_erased(events: int) -> None:
    """Writes a metric line for events that were not stored because of an erasure; writes nothing if there are none."""
    if events:
        metrics.add_metric("ErasedEvents", MetricUnit.Count, events)
        metrics.flush_metrics()
