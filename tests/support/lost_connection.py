"""A sync whose connection to ClickHouse is lost."""

from contextlib import suppress
from copy import replace
from typing import Any
from unittest.mock import patch

from clickhouse_connect.driver.exceptions import ClickHouseError

from functions.sync import table
from functions.sync.sync import Sync


def sync_until_lost(sync: Sync, inserts: int, seconds: float, *, stored: bool) -> None:
    """Runs a sync that loses the connection at one of its inserts.

    Args:
        inserts: number of inserts before.
        stored: whether ClickHouse has stored that insert by then.
    """
    seen = iter(range(inserts))

    def insert(*arguments: Any) -> None:
        goes_on = next(seen, None) is not None
        if goes_on or stored:
            table.insert(*arguments)
        if not goes_on:
            raise ClickHouseError("the connection is gone")

    with patch("functions.sync.sync.insert", insert), suppress(ClickHouseError):
        replace(sync, chunk_bytes=1).run(seconds)
