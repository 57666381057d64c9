"""The goal of each row: which ratio of the project to the baseline is good enough."""

from typing import NamedTuple


class Goal(NamedTuple):
    """Largest or smallest good ratio.

    Attributes:
        ratio: bound of the good ratios, itself good.
        is_upper_bound: whether smaller ratios are better.
    """

    ratio: float
    is_upper_bound: bool

    def is_reached(self, ratio: float) -> bool:
        """Whether the ratio is good enough."""
        return ratio <= self.ratio if self.is_upper_bound else ratio >= self.ratio

    def __str__(self) -> str:
        return f"{'at most' if self.is_upper_bound else 'at least'} {self.ratio:g}"


def _at_least(ratio: float) -> Goal:
    return Goal(ratio, is_upper_bound=False)


def _at_most(ratio: float) -> Goal:
    return Goal(ratio, is_upper_bound=True)


GOALS = {
    "cold_ingest": _at_most(1.25),
    "cold_consumer": _at_most(1.25),
    "cold_graphql": _at_most(1.25),
    "cold_sync": _at_most(1.25),
    "ingest_vs_codec": _at_least(0.7),
    "ingest_messages": _at_most(1.3),
    "consume_vs_binary_copy": _at_least(0.85),
    "consume_vs_upsert": _at_least(2.5),
    "consume_functions": _at_least(0.6),
    "sync_vs_raw_insert": _at_least(0.95),
    "sync_vs_fetch_and_insert": _at_least(2),
    "sync_vs_fetch_and_csv": _at_least(3.5),
    "sync_memory": _at_most(1.2),
    "page_root": _at_most(2),
    "page_mid": _at_most(2),
    "page_leaf": _at_most(2),
    "page_user": _at_most(2),
    "page_vs_postgraphile": _at_most(0.9),
    "page_1000": _at_most(2),
    "page_deep": _at_most(1.2),
    "page_growth": _at_most(1.2),
    "payload_filter_clickhouse": _at_most(1),
    "metrics_clickhouse": _at_most(0.5),
    "metrics_growth": _at_most(2),
    "dashboard_clickhouse": _at_most(1.5),
    "dashboard_postgres": _at_most(1.5),
    "dashboard_clickhouse_90": _at_most(1.5),
    "dashboard_postgres_90": _at_most(1.5),
    "export_postgres": _at_least(0.25),
    "export_clickhouse": _at_least(0.2),
    "export_memory": _at_most(1.2),
    "memory_ingest": _at_most(1),
    "memory_consumer": _at_most(1),
    "memory_graphql": _at_most(1),
    "fair_postgres": _at_most(3),
    "fair_clickhouse": _at_most(3),
    "flood": _at_most(2),
    "end_to_end_seconds": _at_most(3),
}
"""In the order in which results are printed."""
