"""The list of an event's columns, and the texts derived from it."""

from itertools import pairwise

from psycopg import sql

from functions.graphql.query import store
from functions.ingest.postgres.row import Row
from functions.shared import event_columns
from functions.sync.chunks import COLUMNS, row_columns


def test_rows_and_stored_events_begin_with_the_columns_in_their_order() -> None:
    assert Row.__struct_fields__[: len(event_columns.NAMES)] == event_columns.NAMES
    beside = event_columns.NAMES_BESIDE_PAYLOAD
    assert [getattr(store, name.upper()) for name in beside] == list(range(len(beside)))
    assert len(beside) == store.USERNAME


def test_the_sync_copies_every_column_once_in_the_order_of_the_list() -> None:
    copied = row_columns("events", sql.SQL("0")).as_string()
    positions = [copied.index(f'"events"."{name}"') for name in event_columns.NAMES]
    assert all(first < second for first, second in pairwise(positions))
    assert copied.count('"events".') == len([*event_columns.NAMES, "xact_id"])
    assert set(COLUMNS) == {*event_columns.NAMES, "version", "is_deleted"}
