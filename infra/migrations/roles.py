"""Makes the roles of PostgreSQL that functions use which need not change the schema: a writer and a reader.

The owner, who applies the migrations, makes partitions and drops them, is the role of `DATABASE_URL`. Each deployment
gives the roles the rights to what the migrations have made, and the settings that the code relies on. So a connection
of such a role need not set them, and poolers like RDS Proxy can share it after each transaction.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from functions.shared import settings
from functions.shared.postgres import KEEPALIVES, Connection
from functions.shared.session_settings import REQUIRED_SETTINGS

_LISTS = ("search_path", "datestyle")  # settings whose value is a list, not one text

_OWN_NAMES = "SELECT current_database(), current_schema(), current_setting('search_path')"

_EXISTS = "SELECT rolcanlogin FROM pg_roles WHERE rolname = %s"

_CREATE = "CREATE ROLE {role} LOGIN"

_ALTER = "ALTER ROLE {role} LOGIN CONNECTION LIMIT {connections} PASSWORD {password}"

_SET = "ALTER ROLE {role} IN DATABASE {database} SET {name} = {value}"

_REACH = """
    GRANT CONNECT ON DATABASE {database} TO {role};
    GRANT USAGE ON SCHEMA {schema} TO {role};
"""

# Partitions are made by the retention, too, between two deployments.
_WRITE = """
    GRANT TEMPORARY ON DATABASE {database} TO {role};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};
    REVOKE INSERT, UPDATE, DELETE ON alembic_version, migration_steps, releases, payload_keys FROM {role};
    GRANT EXECUTE ON FUNCTION make_event_partition TO {role};
    ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};
"""

# Partitions are read through their table. What was refused, erased and exported is for operators.
_READ = """
    GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role};
    REVOKE SELECT ON rejected_events, rejection_history, erasures, exports, directory_changes, tenant_usage FROM {role};
"""

# The sync needs to know since when the transactions of other roles have been open.
_SEE_TRANSACTIONS = "GRANT pg_read_all_stats TO {role}"


@dataclass(frozen=True, slots=True)
class Role:
    """A role of functions.

    Attributes:
        url: URL that the functions use; only its user and password count.
        connections: how many connections the role may have at once; -1 for no limit.
        rights: statements that give the role its rights.
        settings: settings of its sessions beside the required ones.
        sees_transactions: whether the role has to see since when others' transactions have been open.
    """

    url: str = field(repr=False)
    connections: int
    rights: LiteralString
    settings: Mapping[str, str]
    sees_transactions: bool = False


def writer(url: str, connections: int) -> Role:
    """The role of the consumer and the sync. The limits are those of the consumer; the sync sets its own."""
    limits = {
        "statement_timeout": "45s",
        "transaction_timeout": "50s",
        "idle_in_transaction_session_timeout": "50s",
    }
    return Role(url, connections, _WRITE, limits, sees_transactions=True)


def reader(url: str, connections: int) -> Role:
    """The role of GraphQL."""
    limits = {
        "statement_timeout": "9s",
        "transaction_timeout": "25s",
        "idle_in_transaction_session_timeout": "25s",
        "enable_bitmapscan": "off",
        "max_parallel_workers_per_gather": "0",
        "work_mem": "16MB",
        "jit": "off",
        "default_transaction_read_only": "on",
    }
    return Role(url, connections, _READ, limits)


def roles_of_settings() -> list[Role]:
    """Returns the roles that the settings name.

    Raises:
        SettingError: a setting is malformed, or two roles are one.
    """
    kinds = (
        (writer, settings.database_writer_url(), settings.database_writer_connections()),
        (reader, settings.database_reader_url(), settings.database_reader_connections()),
    )
    roles = [make(url, connections) for make, url, connections in kinds if url is not None]
    names = [conninfo_to_dict(url).get("user") for url in (settings.database_url(), *(role.url for role in roles))]
    if len(set(names)) < len(names):
        raise settings.SettingError(
            "DATABASE_URL, DATABASE_WRITER_URL and DATABASE_READER_URL must name different roles"
        )
    return roles


def make_role(connection: Connection, role: Role) -> Iterator[str]:
    """Makes a role, or brings it up to date; yields a line for each thing that the owner may not do.

    The owner needs `CREATEROLE`, as the master user of RDS has it, unless a database administrator has made the role.
    """
    address = conninfo_to_dict(role.url)
    name, password = str(address["user"]), str(address.get("password") or "")
    own = _own_names(connection)
    identifiers = {"role": name, "database": own["database"], "schema": own["schema"]}
    parts: dict[str, sql.Composable] = {key: sql.Identifier(value) for key, value in identifiers.items()}
    with connection.transaction():
        if connection.execute(_EXISTS, [name]).fetchone() is None:
            connection.execute(sql.SQL(_CREATE).format(**parts))
        login = {"connections": sql.Literal(role.connections), "password": _verifier(connection, name, password)}
        yield from _if_allowed(connection, [sql.SQL(_ALTER).format(**parts, **login)], f"change the login of {name}")
        wanted = {**REQUIRED_SETTINGS, **KEEPALIVES, "search_path": own["path"], **role.settings}
        own_settings = [
            sql.SQL(_SET).format(**parts, name=sql.Identifier(setting), value=_value(setting, value))
            for setting, value in wanted.items()
        ]
        yield from _if_allowed(connection, own_settings, f"change the settings of {name}")
        connection.execute(sql.SQL(_REACH).format(**parts))
        connection.execute(sql.SQL(role.rights).format(**parts))
        if role.sees_transactions:
            grant = sql.SQL(_SEE_TRANSACTIONS).format(**parts)
            yield from _if_allowed(connection, [grant], f"grant pg_read_all_stats to {name}")


def _own_names(connection: Connection) -> dict[str, str]:
    row = connection.execute(_OWN_NAMES).fetchone()
    if row is None:
        raise AssertionError("a SELECT without a table returns one row")
    return {"database": str(row[0]), "schema": str(row[1]), "path": str(row[2])}


def _verifier(connection: Connection, name: str, password: str) -> sql.Composable:
    """The password as PostgreSQL stores it, because statements may be logged."""
    return sql.Literal(connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode())


def _value(setting: str, value: str) -> sql.Composable:
    return sql.SQL(value) if setting in _LISTS else sql.Literal(value)


def _if_allowed(connection: Connection, statements: Iterable[sql.Composed], what: str) -> Iterator[str]:
    """Executes the statements; yields a line if the owner may not."""
    try:
        with connection.transaction():
            for statement in statements:
                connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        yield f"left to a database administrator, because the owner may not: {what}"
