"""A PostgreSQL server with other users and other users' settings."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, cast

import psycopg
import pytest
from psycopg import sql

from functions.shared.postgres import Database, TimeLimits, connect
from functions.shared.session_settings import REQUIRED_SETTINGS
from tests.support.consuming import Queues
from tests.support.main_path import walk
from tests.support.pooler import Mode, pooler

# What others may have set for the database, the role or both: values that change what statements mean, what texts look
# like, or what is refused. Those that only a superuser may change on a connection are not the project's to pin. No time
# that may pass between two statements on a busy machine is among them: a connection has them until its first statement.
HOSTILE = {
    "client_encoding": "LATIN1",
    "datestyle": "SQL, DMY",
    "intervalstyle": "iso_8601",
    "timezone": "Pacific/Chatham",
    "search_path": "elsewhere, pg_catalog",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "backslash_quote": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "array_nulls": "off",
    "xmloption": "document",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "synchronous_commit": "off",
    "row_security": "off",
    "lock_timeout": "1ms",
    "statement_timeout": "5min",
    "idle_in_transaction_session_timeout": "5min",
    "idle_session_timeout": "5min",
    "client_min_messages": "debug5",
    "check_function_bodies": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_indexscan": "off",
    "enable_nestloop": "off",
    "enable_partition_pruning": "off",
    "work_mem": "64kB",
    "default_statistics_target": "1",
    "lc_numeric": "C",
    "lc_time": "C",
    "lc_monetary": "C",
    "gin_fuzzy_search_limit": "1",
    "default_toast_compression": "pglz",
    "transaction_timeout": "5min",
}

LIMITS = TimeLimits(statement=20, transaction=25)
# As `pg_settings` has them, by their names and in their units there.
EXPECTED = {name: value for name, value in REQUIRED_SETTINGS.items() if name not in ("datestyle", "timezone")} | {
    "DateStyle": "ISO, MDY",
    "TimeZone": "UTC",
    "IntervalStyle": "postgres",
    "statement_timeout": "20000",
    "transaction_timeout": "25000",
    "idle_in_transaction_session_timeout": "25000",
    "enable_sort": "off",
}
EXPECTED.pop("intervalstyle")
TAMPERED = "datestyle = 'SQL, DMY'"

WAYS = {
    "database": "ALTER DATABASE {database} SET {name} = {value}",
    "role": "ALTER ROLE {role} SET {name} = {value}",
    "role in database": "ALTER ROLE {role} IN DATABASE {database} SET {name} = {value}",
}

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Own:
    """An empty database whose owner is not a superuser.

    Attributes:
        url: URL of the database for its owner; nothing is hostile before `spoil`.
        administration: a superuser's connection to the database.
    """

    url: str
    name: str
    administration: psycopg.Connection

    def spoil(self, way: str) -> None:
        for name, value in HOSTILE.items():
            literal = sql.SQL(value) if name in ("datestyle", "search_path") else sql.Literal(value)
            parts = {"database": sql.Identifier(self.name), "role": sql.Identifier(self.name)}
            self.administration.execute(sql.SQL(WAYS[way]).format(**parts, name=sql.SQL(name), value=literal))


@pytest.fixture
def own(postgres_server: str) -> Iterator[Own]:
    server, _, _ = postgres_server.rpartition("/")
    name = f"own_{next(_numbers)}"
    identifier = sql.Identifier(name)
    with psycopg.connect(f"{server}/postgres", autocommit=True) as outside:
        outside.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'own'").format(identifier))
        outside.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(identifier, identifier))
        url = f"postgresql://{name}:own@{server.rpartition('@')[2]}/{name}"
        with psycopg.connect(f"{server}/{name}", autocommit=True) as administration:
            administration.execute("CREATE SCHEMA elsewhere")
            yield Own(url, name, administration)
        outside.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))
        outside.execute(sql.SQL("DROP ROLE {}").format(identifier))


@pytest.mark.parametrize("way", WAYS)
def test_the_whole_way_of_an_event_minds_no_setting_that_others_made(
    way: str, own: Own, clickhouse_url: str, queues: Queues
) -> None:
    own.spoil(way)
    walk(own.administration, own.url, own.url, clickhouse_url, queues)


@pytest.mark.parametrize("way", [None, *WAYS])
def test_an_events_whole_way_passes_poolers_that_refuse_startup_options(
    way: str | None, own: Own, clickhouse_url: str, queues: Queues
) -> None:
    if way:
        own.spoil(way)
    with pooler(own.url, "session") as sessions, pooler(own.url, "transaction") as transactions:
        with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter: options"):
            psycopg.connect(transactions.url, options="-c timezone=UTC")
        walk(own.administration, sessions.url, transactions.url, clickhouse_url, queues)
        assert transactions.refused == ["options"]


def _settings_of(connection: psycopg.Connection[Any]) -> dict[str, str]:
    return dict(connection.execute("SELECT name, setting FROM pg_catalog.pg_settings").fetchall())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["direct", "session", "transaction"])
def test_every_pinned_setting_holds_on_each_connection_and_after_a_prefetch(mode: str, way: str, own: Own) -> None:
    own.spoil(way)
    with ExitStack() as stack:
        url = own.url if mode == "direct" else stack.enter_context(pooler(own.url, cast("Mode", mode))).url
        database = Database(url, LIMITS, "-c enable_sort=off")
        stack.callback(database.close)
        if mode != "transaction":
            session = stack.enter_context(connect(url, LIMITS, "-c enable_sort=off"))
            assert _settings_of(session).items() >= EXPECTED.items()
        for _ in range(3):
            assert database.run(_settings_of).items() >= EXPECTED.items()
            database.run_confined(lambda connection: connection.execute(f"SET search_path = x; SET {TAMPERED}"), 5)


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_what_is_set_for_us_is_not_left_to_other_clients_of_a_pooler(mode: Mode, own: Own) -> None:
    with pooler(own.url, mode) as shared:
        database = Database(shared.url, LIMITS, "-c enable_sort=off")
        database.run(_settings_of)
        database.run_confined(lambda connection: connection.execute("SET enable_sort = off"), 5)
        database.close()
        with psycopg.connect(own.url, autocommit=True) as untouched:
            expected = _settings_of(untouched)
        for _ in range(3):
            with psycopg.connect(shared.url, autocommit=True) as other:
                found = _settings_of(other)
            assert {name: found[name] for name in EXPECTED} == {name: expected[name] for name in EXPECTED}


@pytest.mark.parametrize("ends", ["ROLLBACK", "COMMIT", "COMMIT; BEGIN"])
def test_settings_that_a_prefetch_makes_beyond_its_transaction_are_undone(ends: str, own: Own) -> None:
    with closing(Database(own.url, LIMITS)) as database:

        def work(connection: psycopg.Connection[Any]) -> None:
            connection.execute("SET search_path = x")
            connection.execute(ends)
            connection.execute("SET timezone = 'Asia/Tokyo'")

        database.run_confined(work, 5)
        assert database.run(_settings_of).items() >= EXPECTED.items() - {("enable_sort", "off")}


@pytest.mark.parametrize("mode", ["direct", "transaction"])
def test_what_the_address_names_as_its_schema_is_where_the_tables_are(mode: str, own: Own) -> None:
    own.administration.execute(f"GRANT ALL ON SCHEMA elsewhere TO {own.name}")
    with ExitStack() as stack:
        url = own.url if mode == "direct" else stack.enter_context(pooler(own.url, cast("Mode", mode))).url
        database = Database(f"{url}?options=-c%20search_path%3Delsewhere%20-c%20datestyle%3DGerman", LIMITS)
        stack.callback(database.close)
        found = database.run(lambda connection: connection.execute("SELECT current_schema(), date '2026-11-02'::text"))
        assert found.fetchall() == [("elsewhere", "2026-11-02")]
