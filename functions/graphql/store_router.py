"""`StoreRouter`: reads from ClickHouse if ClickHouse is enabled, reachable and caught up, else from PostgreSQL."""

import time
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Literal, cast
from uuid import UUID

import msgspec
from aws_lambda_powertools import Logger

from functions.graphql.postgres.path_counts import PathCounts
from functions.graphql.postgres.store import PostgresStore
from functions.graphql.query.budget import MAX_SECONDS, Deadline
from functions.graphql.query.own import OwnEvents, own_user_id
from functions.graphql.query.slots import Slots
from functions.graphql.query.store import EventStore
from functions.shared.grant import Grant
from functions.shared.postgres import Database
from functions.shared.rollup_days import Rollup, counting_rollups, first_whole_day
from functions.shared.secret import UrlSource
from functions.shared.sync_state import read_state
from functions.shared.timestamp import utc_now

if TYPE_CHECKING:
    from functions.shared.clickhouse import KeptReader

logger = Logger(child=True)

_CHECK_SECONDS = 3

# How long the result of the last check of ClickHouse holds.
_RECHECK_SECONDS = 10


class Source(msgspec.Struct, frozen=True):
    """A store of events, with the name that answers show."""

    name: Literal["clickhouse", "postgresql"]
    events: EventStore


class _Rollups(msgspec.Struct, frozen=True):
    """Reads from PostgreSQL which rollups of one table in ClickHouse count."""

    database: Database
    target: UUID
    first_day: date

    def counting(self, first: date, end: date, measures: Sequence[str]) -> tuple[Rollup, ...]:
        """See `RollupReader.counting`."""
        first = max(first, self.first_day)
        return self.database.run(lambda connection: counting_rollups(connection, self.target, first, end, measures))


class StoreRouter:
    """Chooses the store to read events from."""

    def __init__(self, database: Database, clickhouse_url: UrlSource | None) -> None:
        self._database = database
        self._clickhouse_url = clickhouse_url
        self._reader: KeptReader | None = None
        self._checking_reader: KeptReader | None = None
        self._is_caught_up = False
        self._declared: frozenset[tuple[str, ...]] = frozenset()
        self._target: UUID | None = None
        self._kept_months: int | None = None
        self._checked_at: float | None = None
        self._path_counts = PathCounts()

    def current(self, grant: Grant, deadline: Deadline) -> Source:
        """The store to read from now. Its reads end at the deadline, and take the query slots of the grant's tenant.

        Raises:
            psycopg.OperationalError: PostgreSQL, which knows whether ClickHouse has caught up, is unreachable.
        """
        source = self._clickhouse(grant, deadline) or self._postgresql(grant, deadline)
        if grant.reads_own_only:
            return Source(source.name, cast("EventStore", OwnEvents(source.events, own_user_id(grant))))
        return source

    def of_canaries(self, name: Literal["clickhouse", "postgresql"], grant: Grant, deadline: Deadline) -> Source | None:
        """The named store, to look for canary events in; None if it is not read now.

        Raises:
            psycopg.OperationalError: as for `current`.
        """
        return self._clickhouse(grant, deadline) if name == "clickhouse" else self._postgresql(grant, deadline)

    @property
    def has_clickhouse(self) -> bool:
        """Whether ClickHouse is enabled."""
        return self._clickhouse_url is not None

    def _clickhouse(self, grant: Grant, deadline: Deadline) -> Source | None:
        """Returns ClickHouse, if it is enabled, reachable and caught up."""
        if self._clickhouse_url is not None and self._is_check_due():
            self._is_caught_up = self._check(self._clickhouse_url)
            self._checked_at = time.monotonic()
        if not self._is_caught_up or self._reader is None:
            return None
        from functions.graphql.clickhouse.store import ClickHouseStore

        slots, rollups = Slots(self._database, grant, deadline), None
        if self._target is not None:
            first_day = first_whole_day(self._kept_months, utc_now().date())
            rollups = _Rollups(self._database, self._target, first_day)
        return Source("clickhouse", ClickHouseStore(self._reader, slots, deadline, self._declared, rollups))

    def _postgresql(self, grant: Grant, deadline: Deadline) -> Source:
        slots = Slots(self._database, grant, deadline)
        return Source("postgresql", PostgresStore(slots, deadline, grant, self._path_counts))

    def check_again(self) -> None:
        """Makes the next call of `current` check ClickHouse again, after a failed read."""
        self._checked_at = None

    def _is_check_due(self) -> bool:
        return self._checked_at is None or time.monotonic() > self._checked_at + _RECHECK_SECONDS

    def _check(self, url: UrlSource) -> bool:
        """Whether ClickHouse is reachable and has caught up."""
        from clickhouse_connect.driver.exceptions import ClickHouseError

        from functions.shared import clickhouse

        try:
            checking = self._checking_reader = self._checking_reader or clickhouse.KeptReader(url, _CHECK_SECONDS)
            self._target = target = clickhouse.readable_target_of(checking)
            self._kept_months = clickhouse.ttl_months(checking)
            self._declared = clickhouse.declared_paths(checking)
            self._reader = self._reader or clickhouse.KeptReader(url, MAX_SECONDS)
        except ClickHouseError as error:
            logger.warning("ClickHouse can't be read", extra={"reason": clickhouse.reason_of(error)})
            return False
        if target is None:
            return False
        state = self._database.run(lambda connection: read_state(connection, target))
        return state.caught_up_at is not None
