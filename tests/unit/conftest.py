"""What tests of both ways in share."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.unit.ways_in import WaysIn, ways_in


@pytest.fixture
def ways(database_url: str) -> Iterator[WaysIn]:
    """Both ways into the database that `query` asks."""
    with ways_in(database_url) as ways:
        yield ways


@pytest.fixture
def query(database_url: str) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """What a statement finds in the test's database."""
    with psycopg.connect(database_url, autocommit=True, row_factory=dict_row) as connection:
        yield lambda statement, *values: connection.execute(statement, values).fetchall()
