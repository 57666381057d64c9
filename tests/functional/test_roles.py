"""The roles of the database: the owner migrates, the writer stores and copies, the reader only reads."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from functions.retention.retention import Retention
from functions.shared import settings
from functions.shared.partitions import month_of, partition_name, partitions
from functions.shared.postgres import Database, TimeLimits
from functions.shared.role_settings import CONSUMER_LIMITS, GRAPHQL_LIMITS, GRAPHQL_OPTIONS
from functions.shared.settings import SettingError
from functions.sync.analysis import Analysis
from functions.sync.moves import Mover
from functions.sync.rollups import Rollups
from functions.sync.sync import Sync
from infra.migrations.roles import roles_of_settings
from tests.support.clock import NOW
from tests.support.database_roles import Roles, database_roles
from tests.support.graphql import ask, built
from tests.support.pooler import pooler
from tests.support.ways_in import token, ways_in

SECONDS = 60
DAYS = f'startDate: "{NOW:%Y-%m-%d}", endDate: "{NOW:%Y-%m-%d}"'
QUERY = f"""{{
    namespace(fullPath: "acme") {{
        aiUsageData {{ all({DAYS}) {{ nodes {{ id user {{ username }} }} }} }}
        aiMetrics({DAYS}) {{ count: totalEventCount }}
    }}
}}"""
EVENT = {
    "event": "request_duo_chat_response",
    "timestamp": NOW.isoformat(),
    "user": {"id": 7, "username": "root"},
    "namespace": {"path": "27/", "full_path": "acme"},
}


@pytest.fixture
def roles(postgres_server: str) -> Iterator[Roles]:
    with database_roles(postgres_server) as roles:
        yield roles


def test_an_events_whole_way_needs_no_more_rights_than_each_role_has(roles: Roles, clickhouse_url: str) -> None:
    assert [line for line in roles.migrate() if "administrator" in line] == []
    assert [line for line in roles.migrate() if "administrator" in line] == []
    with psycopg.connect(roles.owner, autocommit=True) as owner:
        month = partition_name(month_of(NOW.date()))
        owner.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(month)))
        with ways_in(roles.writer) as ways:
            sender = {"Authorization": f"Bearer {token(namespaces=['*'], sub='7')}"}
            assert ways.post(json.dumps([EVENT, EVENT]).encode(), sender)[0] == 202
            assert ways.consume_waiting().stored == 2
            moved = EVENT | {"namespace": {"path": "29/27/", "full_path": "acme"}, "timestamp": None}
            outcome = ways.consume(json.dumps([moved, {"event": "no_such_event"}]))
            assert (outcome.stored, len(outcome.rejected)) == (1, 1)
        assert month in partitions(owner)
    assert Sync(roles.writer, clickhouse_url).run(SECONDS).rows == 3
    assert Mover(roles.writer, clickhouse_url).run(SECONDS).open == 0
    assert Sync(roles.writer, clickhouse_url).run(SECONDS).status == "caught_up"
    Rollups(roles.writer, clickhouse_url, rebuild_seconds=0).run(SECONDS)
    Analysis(roles.writer, clickhouse_url).run(SECONDS)
    report = Retention(roles.owner, 3, clickhouse_url).run(NOW, SECONDS)
    assert (report.dropped, report.failure) == ([], "")
    for url in (None, clickhouse_url):
        with built(roles.reader, clickhouse_url=url) as handler:
            nodes = ask(handler, QUERY)["namespace"]["aiUsageData"]["all"]["nodes"]
            assert [node["user"]["username"] for node in nodes] == ["root"] * 3


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("writer", "CREATE TABLE mine (id int)"),
        ("writer", "ALTER TABLE users ADD COLUMN mine int"),
        ("writer", f"DROP TABLE {partition_name(month_of(NOW.date()))}"),
        ("writer", "TRUNCATE ai_usage_events"),
        ("writer", "UPDATE alembic_version SET version_num = '0001'"),
        ("reader", "INSERT INTO users (id) VALUES (1)"),
        ("reader", "SET default_transaction_read_only = off; DELETE FROM ai_usage_events"),
        ("reader", "SET default_transaction_read_only = off; SELECT make_event_partition('2031-01-01')"),
        ("reader", "SELECT body FROM rejected_events"),
        ("reader", "SELECT * FROM erasures"),
        ("reader", "CREATE TABLE mine (id int)"),
    ],
)
def test_a_role_may_do_nothing_that_its_functions_do_not(role: str, statement: str, roles: Roles) -> None:
    roles.migrate()
    refusals = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)
    with psycopg.connect(getattr(roles, role), autocommit=True) as connection, pytest.raises(refusals):
        connection.execute(statement.encode())


def test_readers_at_their_limit_leave_connections_to_writers(roles: Roles) -> None:
    roles.migrate(readers=2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(psycopg.connect(roles.reader))
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            psycopg.connect(roles.reader)
        with ways_in(roles.writer) as ways:
            assert ways.consume(json.dumps(EVENT)).stored == 1
    roles.migrate(readers=3)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(psycopg.connect(roles.reader))


def test_a_new_password_is_that_of_the_next_deployment(roles: Roles) -> None:
    roles.migrate()
    changed = Roles(roles.owner, roles.writer.replace(":secret@", ":other@"), roles.reader)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(changed.writer)
    changed.migrate()
    psycopg.connect(changed.writer).close()


def test_an_owner_who_may_make_no_roles_gives_rights_to_those_that_are_there(
    roles: Roles, administration: psycopg.Connection
) -> None:
    urls = {"owner": roles.owner, "writer": roles.writer, "reader": roles.reader}
    users = {kind: sql.Identifier(str(urlsplit(url).username)) for kind, url in urls.items()}
    administration.execute(sql.SQL("ALTER ROLE {owner} NOCREATEROLE").format(**users))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        roles.migrate()
    for kind in ("writer", "reader"):
        administration.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(users[kind]))
    said = [line for line in roles.migrate() if "administrator" in line]
    assert len(said) == 4
    with ways_in(roles.writer) as ways:
        assert ways.consume(json.dumps(EVENT)).stored == 1


@pytest.mark.parametrize(
    "statement",
    ["CREATE TEMP TABLE mine (id int)", "BEGIN; CREATE LOCAL TEMPORARY TABLE mine ON COMMIT DROP AS TABLE a"],
)
def test_the_stand_in_for_a_pooler_refuses_temporary_tables(statement: str, database_url: str) -> None:
    with pooler(database_url, "transaction") as shared, psycopg.connect(shared.url, autocommit=True) as connection:
        with pytest.raises(psycopg.OperationalError):
            connection.execute(statement.encode())
        assert len(shared.refused) == 1


def test_rds_proxy_shares_the_connections_of_roles_after_each_transaction(roles: Roles, clickhouse_url: str) -> None:
    roles.migrate()
    with pooler(roles.writer, "transaction") as writers, ways_in(writers.url) as ways:
        for number in range(7):  # psycopg prepares what is executed more than five times
            assert ways.consume(json.dumps([EVENT, EVENT]), message_id=str(number)).stored == 2
            known, new = ({**EVENT, "id": str(UUID(int=one, version=4))} for one in (number, number + 1))
            assert ways.consume(json.dumps([known, new]), message_id=f"again {number}").duplicates == bool(number)
        assert (writers.pinned, writers.refused) == ([], [])
    Sync(roles.writer, clickhouse_url).run(SECONDS)
    with pooler(roles.reader, "transaction") as readers:
        for url in (None, clickhouse_url):
            with built(readers.url, clickhouse_url=url) as handler:
                for _ in range(7):
                    assert len(ask(handler, QUERY)["namespace"]["aiUsageData"]["all"]["nodes"]) == 22
        assert readers.pinned == []
    assert readers.transactions > 7


@pytest.mark.parametrize(
    ("role", "limits", "options"), [("writer", CONSUMER_LIMITS, ""), ("reader", GRAPHQL_LIMITS, GRAPHQL_OPTIONS)]
)
def test_a_roles_sessions_have_all_settings_from_the_start(
    role: str, limits: TimeLimits, options: str, roles: Roles
) -> None:
    roles.migrate()
    url = getattr(roles, role)
    with closing(Database(url, limits, options)) as database, psycopg.connect(url) as untouched:
        read = "SELECT name, setting FROM pg_settings"
        wanted: dict[str, str] = dict(database.run(lambda connection: connection.execute(read).fetchall()))
        found: dict[str, str] = dict(untouched.execute(read).fetchall())
    differing = {name for name in wanted if wanted[name] != found[name]}
    assert differing <= {"application_name"}


def test_settings_name_different_roles_with_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://one@127.0.0.1/events")
    assert roles_of_settings() == []
    monkeypatch.setenv("DATABASE_WRITER_URL", "postgresql://two@127.0.0.1/events")
    monkeypatch.setenv("DATABASE_WRITER_CONNECTIONS", "20")
    (role,) = roles_of_settings()
    assert role.connections == 20
    monkeypatch.setenv("DATABASE_READER_URL", "postgresql://two@127.0.0.1/events")
    with pytest.raises(SettingError, match="different roles"):
        roles_of_settings()
    monkeypatch.setenv("DATABASE_WRITER_CONNECTIONS", "many")
    with pytest.raises(SettingError, match="DATABASE_WRITER_CONNECTIONS must be a number"):
        settings.database_writer_connections()
