"""`ClickHouseStore`: reads events from ClickHouse."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import psycopg
from clickhouse_connect.driver.exceptions import ClickHouseError

from functions.graphql.clickhouse import payload_sql, rollups
from functions.graphql.clickhouse.aggregation import Rows, aggregation_statement, event_rows
from functions.graphql.clickhouse.people import counted_by_user, counted_statement, statement_of_events
from functions.graphql.clickhouse.rollups import RollupReader
from functions.graphql.clickhouse.sessions import sessions_statement
from functions.graphql.clickhouse.where import where_condition
from functions.graphql.query.aggregation import Aggregation, answer_rows, empty_rows
from functions.graphql.query.budget import Deadline
from functions.graphql.query.errors import QueryTooSlow, StoreUnavailable
from functions.graphql.query.page_bytes import MAX_PAGE_BYTES, PageTooLarge, may_be_too_large
from functions.graphql.query.people import FirstUse, Question, SeatChanges
from functions.graphql.query.selection import Selection
from functions.graphql.query.sessions import Sessions
from functions.graphql.query.slots import Slots
from functions.graphql.query.store import EventRow, PageWindow, RequestedFields
from functions.shared import event_columns
from functions.shared.clickhouse import Reader
from functions.shared.payload_value import DeclaredPaths

MAX_MEMORY_BYTES = 1024**3
MAX_BYTES_BEFORE_SPILL = MAX_MEMORY_BYTES // 4
MAX_SPILLED_BYTES = 4 * 1024**3
MAX_ROWS_ANSWERED = 100_000  # ten times the nodes that a query may ask for
MAX_THREADS = 2

# Limits of one query, so that other tenants' queries can run beside it.
_LIMITS = {
    "max_threads": MAX_THREADS,
    "max_memory_usage": MAX_MEMORY_BYTES,
    "max_bytes_before_external_group_by": MAX_BYTES_BEFORE_SPILL,
    "max_bytes_before_external_sort": MAX_BYTES_BEFORE_SPILL,
    "max_temporary_data_on_disk_size_for_query": MAX_SPILLED_BYTES,
    "max_result_rows": MAX_ROWS_ANSWERED,
    "result_overflow_mode": "throw",
}

_SETTINGS = (
    payload_sql.SETTINGS
    | _LIMITS
    | {
        # FINAL merges duplicate rows. Duplicates share a partition, so that each partition can be merged alone.
        "do_not_merge_across_partitions_select_final": 1,
        # Finds the rows of a page first, then reads their payloads, by far the largest column.
        "query_plan_max_limit_for_lazy_materialization": 0,
    }
)

_MAX_RESULT = {"max_result_bytes": MAX_PAGE_BYTES}
_RESULT_TOO_LARGE = {396: "TOO_MANY_ROWS_OR_BYTES"}

# ClickHouse's error codes. Any other code is a bug of this project.
_LIMIT_EXCEEDED = {
    159: "TIMEOUT_EXCEEDED",
    241: "MEMORY_LIMIT_EXCEEDED",
    243: "NOT_ENOUGH_SPACE",
    396: "TOO_MANY_ROWS_OR_BYTES",
}
_UNAVAILABLE = {
    47: "UNKNOWN_IDENTIFIER",  # a recreated table briefly lacks the columns of declared paths
    60: "UNKNOWN_TABLE",
    81: "UNKNOWN_DATABASE",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    242: "TABLE_IS_READ_ONLY",
    516: "AUTHENTICATION_FAILED",
}

# What a statement on rollups fails with if somebody removed the tables or rows. Events then answer.
_ROLLUP_MISSING = {
    16: "NO_SUCH_COLUMN_IN_TABLE",
    47: "UNKNOWN_IDENTIFIER",
    60: "UNKNOWN_TABLE",
    395: "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO",
}

# How often a statement on rollups is repeated because other rollups count by now.
_MAX_ATTEMPTS = 3

# ClickHouse compares UUIDs by their second halves. UUIDToNum sorts them by bytes, as PostgreSQL does.
_EVENTS = """
    SELECT {columns}{payload}
    FROM ai_usage_events FINAL
    WHERE {conditions}
    ORDER BY timestamp {order}, UUIDToNum(id) {order}
    LIMIT {{limit:UInt32}}
"""

_COUNT = "SELECT count() FROM ai_usage_events FINAL WHERE {conditions}"

_COLUMNS = ", ".join(event_columns.NAMES_BESIDE_PAYLOAD)
_COUNT_OF_COLUMNS = len(event_columns.NAMES_BESIDE_PAYLOAD)
_WHOLE_PAYLOAD = "toJSONString(payload)"


class _Direction(NamedTuple):
    order: str
    is_beyond: str


_FORWARDS = _Direction(
    "DESC",
    """
    timestamp <= {timestamp:DateTime64(6, 'UTC')}
    AND (timestamp, UUIDToNum(id)) < ({timestamp:DateTime64(6, 'UTC')}, UUIDToNum({id:UUID}))
    """,
)
_BACKWARDS = _Direction(
    "ASC",
    """
    timestamp >= {timestamp:DateTime64(6, 'UTC')}
    AND (timestamp, UUIDToNum(id)) > ({timestamp:DateTime64(6, 'UTC')}, UUIDToNum({id:UUID}))
    """,
)


type Statement = Callable[[Rows, dict[str, Any]], str]
"""Makes a statement that groups rows; adds its bind parameters to the values."""


class ClickHouseStore:
    """An `EventStore` on ClickHouse.

    Args:
        declared: payload paths that have a column of their own.
        rollups: knows which rollups count; None to read events alone.
    """

    knows_usernames = False

    def __init__(
        self,
        client: Reader,
        slots: Slots,
        deadline: Deadline,
        declared: DeclaredPaths = frozenset(),
        rollups: RollupReader | None = None,
    ) -> None:
        self._client = client
        self._slots = slots
        self._deadline = deadline
        self._declared = declared
        self._rollups = rollups

    def events(self, selection: Selection, window: PageWindow, requested: RequestedFields) -> list[EventRow]:
        """See `EventStore.events`."""
        if selection.selects_nothing:
            return []
        values: dict[str, Any] = {"limit": window.limit}
        conditions = where_condition(selection, values, self._declared)
        direction = _BACKWARDS if window.backwards else _FORWARDS
        if window.beyond is not None:
            values |= {"timestamp": window.beyond.timestamp, "id": window.beyond.id}
            conditions += f" AND {direction.is_beyond}"
        columns = [_WHOLE_PAYLOAD] if requested.payload else []
        paths = [*((key,) for key in requested.keys), *requested.paths]
        columns += [payload_sql.json_text(path, values, self._declared) for path in paths]
        payload = "".join(f", {column}" for column in columns)
        statement = _EVENTS.format(columns=_COLUMNS, payload=payload, conditions=conditions, order=direction.order)
        rows = (
            self._page_rows(selection, statement, values)
            if may_be_too_large(window.limit, requested)
            else self._rows(selection, statement, values)
        )
        found = [event_row(row, requested) for row in rows]
        return found[::-1] if window.backwards else found

    def count(self, selection: Selection) -> int:
        """See `EventStore.count`."""
        if selection.selects_nothing:
            return 0
        values: dict[str, Any] = {}
        statement = _COUNT.format(conditions=where_condition(selection, values, self._declared))
        return int(self._rows(selection, statement, values)[0][0])

    def aggregate(self, aggregation: Aggregation) -> list[tuple[Any, ...]]:
        """See `EventStore.aggregate`."""
        if aggregation.selection.selects_nothing:
            return empty_rows(aggregation)
        return list(answer_rows(aggregation, self._grouped(aggregation, partial(aggregation_statement, aggregation))))

    def people(self, question: Question | Sessions) -> list[tuple[Any, ...]]:
        """See `EventStore.people`."""
        if question.selects_nothing:
            return []
        values: dict[str, Any] = {}
        if isinstance(question, Sessions):
            rows = self._rows(question.selection, sessions_statement(question, self._declared, values), values)
        elif isinstance(question, SeatChanges | FirstUse):
            rows = self._rows(question.selection, statement_of_events(question, self._declared, values), values)
        else:
            rows = self._grouped(counted_by_user(question), partial(counted_statement, question, self._declared))
        return list(map(tuple, rows))

    def _grouped(self, aggregation: Aggregation, statement: Statement) -> Sequence[Sequence[Any]]:
        """The answer of the statement on rows of the aggregation: of rollups if possible, else of events."""
        rows = self._from_rollups(aggregation, statement)
        if rows is None:
            values: dict[str, Any] = {}
            of_events = event_rows(aggregation, values, self._declared)
            rows = self._rows(aggregation.selection, statement(of_events, values), values)
        return rows

    def _from_rollups(self, aggregation: Aggregation, statement: Statement) -> Sequence[Sequence[Any]] | None:
        """The answer of the statement on the rollups of the aggregation's days; None if the rollups can't answer it.

        The same rollups must count before and after the statement. Then none of the events that they stand for changed
        meanwhile, so that the statement sees each day as it is at one moment, also if an event moves to another day.
        """
        if self._rollups is None or not rollups.can_use_rollups(aggregation):
            return None
        asked = (*rollups.days_of(aggregation), rollups.needed_measures(aggregation))
        counting = self._rollups.counting(*asked)
        for _ in range(_MAX_ATTEMPTS):
            if not counting:
                return None
            values: dict[str, Any] = {}
            of_days = rollups.rollup_rows(aggregation, counting, values, self._declared)
            rows = self._rows_unless_missing(aggregation.selection, statement(of_days, values), values)
            before, counting = counting, self._rollups.counting(*asked)
            if rows is None or counting == before:
                return rows
        return None

    def _rows_unless_missing(
        self, selection: Selection, statement: str, values: Mapping[str, Any]
    ) -> Sequence[Sequence[Any]] | None:
        try:
            return self._rows(selection, statement, values, also_raised=_ROLLUP_MISSING)
        except ClickHouseError as error:
            if getattr(error, "code", None) in _ROLLUP_MISSING:
                return None
            raise

    def _page_rows(self, selection: Selection, statement: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        try:
            return self._rows(selection, statement, values, _MAX_RESULT, also_raised=_RESULT_TOO_LARGE)
        except ClickHouseError as error:
            if getattr(error, "code", None) in _RESULT_TOO_LARGE:
                raise PageTooLarge from error
            raise

    def _rows(
        self,
        selection: Selection,
        statement: str,
        values: Mapping[str, Any],
        limits: Mapping[str, int] = MappingProxyType({}),
        *,
        also_raised: Collection[int] = (),
    ) -> Sequence[Sequence[Any]]:
        def ask() -> Sequence[Sequence[Any]]:
            settings = {**_SETTINGS, **limits, "max_execution_time": self._deadline.remaining()}
            return self._client.query(statement, parameters=dict(values), settings=settings).result_rows

        try:
            return self._slots.hold(ask)
        except psycopg.OperationalError as error:
            raise StoreUnavailable from error
        except ClickHouseError as error:
            code = getattr(error, "code", None)
            if code in also_raised:
                raise
            if code in _LIMIT_EXCEEDED:
                raise QueryTooSlow(selection.days) from error
            if code is None or code in _UNAVAILABLE:
                raise StoreUnavailable from error
            raise


def event_row(row: Sequence[Any], requested: RequestedFields) -> EventRow:
    """The event of a row: its columns, the payload if requested, then the value at each key and path."""
    columns = (value if convert is None else convert(value) for convert, value in zip(_CONVERSIONS, row, strict=False))
    texts = row[_COUNT_OF_COLUMNS:]
    payload, texts = (texts[0], texts[1:]) if requested.payload else (None, texts)
    count = len(requested.keys)
    values = f"[{','.join(text or 'null' for text in texts[:count])}]" if count else None
    return (*columns, None, payload, values, *texts[count:])


def _in_utc(timestamp: datetime) -> datetime:
    return timestamp.replace(tzinfo=UTC)


def _none_if_empty[Value](value: Value) -> Value | None:
    return value or None


# Conversions to PostgreSQL's values, for the columns in which ClickHouse answers others.
_CONVERSIONS_BY_NAME: Mapping[str, Callable[[Any], Any]] = {
    "timestamp": _in_utc,
    "namespace_path": _none_if_empty,
    "project_id": _none_if_empty,
}
_CONVERSIONS = tuple(map(_CONVERSIONS_BY_NAME.get, event_columns.NAMES_BESIDE_PAYLOAD))
