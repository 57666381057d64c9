"""An old partition goes only if ClickHouse has every row of it, whatever happened to ClickHouse behind the sync."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from functions.retention.retention import Retention
from functions.shared import clickhouse
from functions.shared.partitions import make_partitions, partition_name
from tests.unit.test_retention import OLD, OLDER, RUN_SECONDS, Stores


@pytest.fixture
def stores(database_url: str, clickhouse_url: str) -> Iterator[Stores]:
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        closing(clickhouse.connect(clickhouse_url, RUN_SECONDS)) as client,
    ):
        make_partitions(connection, [OLDER, OLD])
        yield Stores(connection, Retention(database_url, 3, clickhouse_url), client)


def lose(stores: Stores, *ids: object) -> None:
    """Deletes the rows from ClickHouse behind the sync's back, as the loss of a replica does."""
    names = ", ".join(f"'{one}'" for one in ids)
    stores.clickhouse.command(f"DELETE FROM ai_usage_events WHERE id IN ({names})")


def test_a_partition_of_which_clickhouse_lost_rows_stays_until_the_sync_has_copied_them_again(stores: Stores) -> None:
    there, lost = stores.store(OLD), stores.store(OLD)
    stores.sync()
    lose(stores, lost)
    report = stores.retain()
    assert report.dropped == [partition_name(OLDER)]
    assert stores.stored() == {there, lost}
    assert [(kept.partition, kept.unsynced_rows) for kept in report.kept] == [(partition_name(OLD), 1)]
    stores.sync()
    assert stores.retain().dropped == [partition_name(OLD)]
    assert stores.synced() == {there, lost}
