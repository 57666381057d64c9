"""Exports the events that filters select, from both stores, in a stream."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime

import msgspec
from clickhouse_connect.driver.client import Client

from functions.graphql.export.events import exported_events, users_and_paths
from functions.graphql.query.selection import Selection
from functions.graphql.query.store import TIMESTAMP, EventRow
from functions.shared import clickhouse
from functions.shared.catalog.registry import Registry
from functions.shared.postgres import Connection, TimeLimits, connect
from functions.shared.sync_state import read_state
from infra.operations.export.error import ExportError
from infra.operations.export.names import Names
from infra.operations.export.rows import of_clickhouse, of_postgresql
from infra.operations.export.sources import Segment, Source, segments
from infra.operations.export.writers import Writer

_SECONDS = 24 * 60 * 60

# All reads see one state of PostgreSQL.
_ONE_STATE = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_ELSE = "--source postgresql exports what PostgreSQL has"


class Exported(msgspec.Struct):
    """What was exported so far.

    Attributes:
        until: time of the last event, which is the oldest.
        sources: the stores that were read, in order.
    """

    events: int = 0
    until: datetime | None = None
    sources: list[Source] = []


class EventExport(msgspec.Struct, frozen=True):
    """The stores to export from.

    Attributes:
        registry: names the events.
        clickhouse_url: None if ClickHouse is off.
        progress: called after each block of events.
    """

    database_url: str
    registry: Registry
    clickhouse_url: str | None = None
    source: Source = Source.auto
    progress: Callable[[Exported], None] = lambda _: None

    def export(self, selection: Selection, writer: Writer) -> Exported:
        """Writes the selected events, newest first.

        Raises:
            ExportError: ClickHouse has to be read but is off or has not caught up, or the file can't be written.
            psycopg.Error, ClickHouseError: a store can't be read.
        """
        exported = Exported()
        with connect(self.database_url, TimeLimits(_SECONDS, _SECONDS)) as connection, connection.transaction():
            connection.execute(_ONE_STATE)
            names = Names(connection)
            for rows in self._rows(connection, selection, exported):
                users, paths = users_and_paths(rows)
                writer.write(exported_events(rows, self.registry, names.usernames(users), names.full_paths(paths)))
                exported.events += len(rows)
                exported.until = rows[-1][TIMESTAMP]
                self.progress(exported)
            writer.finish()
        return exported

    def _rows(self, connection: Connection, selection: Selection, exported: Exported) -> Iterator[Sequence[EventRow]]:
        if selection.selects_nothing:
            return
        has_clickhouse = self.clickhouse_url is not None
        for segment in segments(connection, selection.start, selection.end, self.source, has_clickhouse=has_clickhouse):
            part = msgspec.structs.replace(selection, start=segment.start, end=segment.end)
            if segment.source is Source.postgresql:
                exported.sources.append(segment.source)
                yield from of_postgresql(connection, part)
            else:
                with self._clickhouse(connection, segment) as client:
                    exported.sources.append(segment.source)
                    yield from filter(None, of_clickhouse(client, part))

    @contextmanager
    def _clickhouse(self, connection: Connection, segment: Segment) -> Iterator[Client]:
        """Connects to ClickHouse, which must have everything before the segment's end."""
        if self.clickhouse_url is None:
            raise ExportError("ClickHouse is off: CLICKHOUSE_URL is not set")
        needed = f"events before {segment.end:%Y-%m-%d} are read from ClickHouse"
        with closing(clickhouse.connect(self.clickhouse_url, _SECONDS)) as client:
            target = clickhouse.readable_target_of(client)
            if target is None:
                raise ExportError(f"{needed}, which has no events yet; {_ELSE}")
            if read_state(connection, target).caught_up_at is None:
                raise ExportError(f"{needed}, which has not caught up yet; {_ELSE}")
            yield client
