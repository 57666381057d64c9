"""Asks ClickHouse for aggregations, from rollups and from events alone."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from clickhouse_connect.driver.client import Client

from functions.graphql.clickhouse.aggregation import aggregation_statement
from functions.graphql.clickhouse.store import ClickHouseStore
from functions.graphql.query.aggregation import Aggregation, Dimension, Measure, MeasureKind
from functions.graphql.query.budget import Deadline
from functions.graphql.query.days import midnight
from functions.graphql.query.selection import Selection
from functions.graphql.query.slots import Slots
from functions.graphql.store_router import StoreRouter
from functions.shared.catalog import registry
from functions.shared.clickhouse import declared_paths
from functions.shared.grant import EVERYTHING, READ, Grant
from functions.shared.postgres import Database, TimeLimits
from tests.support.clock import NOW

SECONDS = 60

MEASURES = (
    Measure(MeasureKind.EVENTS),
    Measure(MeasureKind.EVENTS, (6,)),
    Measure(MeasureKind.USERS),
    Measure(MeasureKind.USERS, (2, 3)),
    Measure(MeasureKind.FEATURES),
    Measure(MeasureKind.LAST_DAY),
    Measure(MeasureKind.SUM, (2, 3), ("suggestion_size",), int),
    Measure(MeasureKind.DISTINCT, (2, 3), ("language",), str),
)
OF_PERIODS = (
    Measure(MeasureKind.EVENTS),
    Measure(MeasureKind.USERS),
    Measure(MeasureKind.PREVIOUS_USERS),
    Measure(MeasureKind.RETURNING_USERS),
)
GROUPINGS: tuple[tuple[Dimension, ...], ...] = (
    (),
    (Dimension.DAY,),
    (Dimension.WEEK, Dimension.MONTH),
    (Dimension.FEATURE, Dimension.MONTH),
    (Dimension.EVENT, Dimension.DAY),
    (Dimension.USER,),
    (Dimension.NAMESPACE, Dimension.PROJECT, Dimension.WEEK),
)


class Stores:
    """One ClickHouse, read in both ways."""

    def __init__(self, with_rollups: ClickHouseStore, of_events: ClickHouseStore) -> None:
        self.with_rollups, self.of_events = with_rollups, of_events

    def require_equal(self, aggregations: Sequence[Aggregation]) -> None:
        """Fails unless both ways give the same answers."""
        for aggregation in aggregations:
            assert self.with_rollups.aggregate(aggregation) == self.of_events.aggregate(aggregation), aggregation

    def uses_rollups(self, aggregation: Aggregation) -> bool:
        """Whether rollups answer the aggregation now."""
        return self.with_rollups._from_rollups(aggregation, partial(aggregation_statement, aggregation)) is not None


@contextmanager
def open_stores(database_url: str, clickhouse_url: str, client: Client) -> Iterator[Stores]:
    """Yields the stores of a ClickHouse that has caught up."""
    database = Database(database_url, TimeLimits(SECONDS, SECONDS))
    grant = Grant("1", (READ,), (EVERYTHING,))
    try:
        deadline = Deadline(3600)
        found = StoreRouter(database, clickhouse_url).current(grant, deadline).events
        assert isinstance(found, ClickHouseStore)
        of_events = ClickHouseStore(client, Slots(database, grant, deadline), deadline, declared_paths(client))
        yield Stores(found, of_events)
    finally:
        database.close()


def selection(days: int = 40, end: datetime | None = None, **changes: Any) -> Selection:
    """The events of the last days, today included; of all namespaces and event types unless changed."""
    last = midnight((end or NOW).date() + timedelta(days=1))
    given: dict[str, Any] = {"namespaces": None, "event_ids": tuple(registry.load().by_id)} | changes
    return Selection(start=last - timedelta(days=days), end=last, **given)


def aggregations(of: Selection) -> list[Aggregation]:
    """Aggregations of all kinds that rollups can answer."""
    feature_of = registry.load().feature_of
    return [
        Aggregation(of, feature_of, measures, dimensions, limit=1000)
        for dimensions in GROUPINGS
        for measures in (MEASURES, OF_PERIODS)
    ]
