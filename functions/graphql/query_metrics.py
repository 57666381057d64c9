"""Metrics of the queries: time, rows, and time by field and source."""

from dataclasses import dataclass, field
from time import perf_counter

from functions.graphql.query.reads import Reads
from functions.shared.metrics import Metric, Values, emit

SLOW_MILLISECONDS = 2_000
"""The objective: a query takes no longer."""

QUERIES = Metric("Queries", "Count", "Answered queries and exports.")
QUERY_MILLISECONDS = Metric(
    "QueryMilliseconds",
    "Milliseconds",
    "How long the function took for an answer, also by `source`: the store read.",
)
SLOW_QUERIES = Metric(
    "SlowQueries", "Count", f"Queries that took more than {SLOW_MILLISECONDS / 1000:.0f} s, or failed: 1 or 0 for each."
)
FAILED_QUERIES = Metric("FailedQueries", "Count", "Queries that failed on our side: 1 or 0 for each.")
READ_MILLISECONDS = Metric(
    "ReadMilliseconds",
    "Milliseconds",
    "How long a read of the store took, also by `source`. The line has the field.",
)
ROWS_READ = Metric("RowsRead", "Count", "Rows that the store returned, also by `source`. The line has the field.")


@dataclass(slots=True)
class QueryMetrics:
    """Measures the answer to one request.

    Attributes:
        reads: the query's reads; None for a request that is no query, like one for a page.
        tenant: name of the reader's tenant, see `tenant_of`; a property of the lines, because there are too many values
            for a dimension.
        has_failed: whether the query failed, in whole or in part, on our side.
        is_of_canary: whether the stack itself asks. Such queries have metrics of their own, and would hide slow ones.
    """

    reads: Reads | None = None
    tenant: str = ""
    has_failed: bool = False
    is_of_canary: bool = False
    _start: float = field(default_factory=perf_counter)

    def emit(self, request_id: str) -> None:
        """Writes the metrics; writes nothing if the request was none for events, or of a canary."""
        if self.is_of_canary or (self.reads is None and not self.has_failed):
            return
        reads = self.reads or Reads()
        milliseconds = round((perf_counter() - self._start) * 1000, 1)
        is_slow = self.has_failed or milliseconds > SLOW_MILLISECONDS
        by = {"source": reads.source} if reads.source else {}
        values = {
            QUERIES: 1,
            QUERY_MILLISECONDS: milliseconds,
            SLOW_QUERIES: int(is_slow),
            FAILED_QUERIES: int(self.has_failed),
        }
        emit(values, by, request_id=request_id)
        for name, read in reads.by_field.items():
            read_values: Values = {READ_MILLISECONDS: read.milliseconds, ROWS_READ: read.rows}
            emit(read_values, by, field=name, tenant=self.tenant, request_id=request_id)
