"""Accepted events, and the bytes that they have once they are unpacked, counted for each tenant.

The tenant is a property of the line in CloudWatch's embedded metric format, not a dimension of its metrics: CloudWatch
charges for each metric of each value of a dimension, and there may be many thousand tenants. The log has the figures of
each.
"""

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

metrics = Metrics(namespace="AiUsageEvents")


def count(tenant: str, events: int, size: int) -> None:
    """Writes a line that counts what was accepted of one tenant, unless that is nothing.

    Args:
        tenant: as `tenant_of` names it, or `QUEUE`.
        size: of the events, in bytes, unpacked.
    """
    if not events:
        return
    metrics.add_metadata("tenant", tenant)
    metrics.add_metric("AcceptedEvents", MetricUnit.Count, events)
    metrics.add_metric("AcceptedBytes", MetricUnit.Bytes, size)
    metrics.flush_metrics()
