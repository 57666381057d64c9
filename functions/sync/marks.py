"""Notices a PostgreSQL that is not the one whose rows were copied, although its numbers of transactions fit.

A server that was loaded from a dump, or by logical replication, has numbers of its own, and they may have come to those
of the rows before the sync looks. Each server has an identifier, which no dump and no replication carries along.

A server that was put back to an earlier moment keeps its identifier, and uses the numbers again that it has lost. So
before rows are copied, PostgreSQL counts, and ClickHouse is told the count. The rows were committed before PostgreSQL
counted: a PostgreSQL that lacks any of them counts less than ClickHouse was told.
"""

from uuid import UUID

import psycopg
from clickhouse_connect.driver.client import Client

from functions.shared.clickhouse import columns_of
from functions.shared.postgres import Connection
from functions.sync import migrations
from functions.sync.durability import make_durable
from functions.sync.error import SyncError

MARKS = "ai_usage_sync_marks"

START_ANEW = "`usage-events sync --reset` to start from the first row"

PUT_BACK = (
    "PostgreSQL was restored to an earlier moment than ClickHouse: run `usage-events refill` to bring back what only"
    f" ClickHouse has, or {START_ANEW}"
)

# Not every role may ask, and not every service answers.
_MAY_ASK = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE')"

_SERVER = "SELECT system_identifier::text FROM pg_control_system()"

_KNOWN_SERVER = "SELECT server FROM sync_state WHERE target = %s"

_REMEMBER_SERVER = "UPDATE sync_state SET server = %s WHERE target = %s AND server IS NULL"

_READ = "SELECT epoch, mark FROM sync_state WHERE target = %s"

_COUNT = "UPDATE sync_state SET mark = mark + 1 WHERE target = %(target)s AND epoch = %(epoch)s RETURNING mark"

_TOLD = "SELECT max((epoch, mark)) FROM ai_usage_sync_marks WHERE target = {target:UUID}"

_TELL = """
    INSERT INTO ai_usage_sync_marks (target, epoch, mark)
    SELECT {target:UUID}, {epoch:UInt64}, {mark:UInt64}
"""


def ensure_marks(client: Client, cluster: str | None, *, durable: bool) -> None:
    """Creates the table of marks if it is missing.

    Raises:
        ClickHouseError: ClickHouse did not answer or returned an error.
    """
    if not columns_of(client, MARKS):
        statement = (migrations.FOLDER / f"{MARKS}.sql").read_text()
        engine = "ReplicatedReplacingMergeTree" if cluster else "ReplacingMergeTree"
        client.command(statement.format(on_cluster=migrations.on_cluster(cluster), engine=engine))
    make_durable(client, durable=durable, table=MARKS)


def is_same_server(connection: Connection, target: UUID) -> bool:
    """Whether PostgreSQL is the server from which rows were copied before, as far as it can be asked."""
    found, known = _server(connection), connection.execute(_KNOWN_SERVER, [str(target)]).fetchone()
    return found is None or known is None or known[0] in (None, found)


def remember_server(connection: Connection, target: UUID) -> None:
    """Remembers the server from which rows are about to be copied for the first time, if it can be asked."""
    found = _server(connection)
    if found is not None:
        connection.execute(_REMEMBER_SERVER, [found, str(target)])


def _server(connection: Connection) -> str | None:
    if connection.execute(_MAY_ASK).fetchone() != (True,):
        return None
    try:
        found = connection.execute(_SERVER).fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported):
        return None
    return None if found is None else str(found[0])


def told(client: Client, target: UUID) -> tuple[int, int]:
    """Returns the highest epoch that ClickHouse was told of a table of events, and the highest count of that epoch.

    A ClickHouse that was never told any has no table of marks, like one that was restored from a backup of events.
    """
    if not columns_of(client, MARKS):
        return 0, 0
    epoch, count = client.query(_TOLD, parameters={"target": target}).result_rows[0][0]
    return int(epoch), int(count)


def was_put_back(connection: Connection, client: Client, target: UUID) -> bool:
    """Whether PostgreSQL counts less than the table's ClickHouse was told."""
    row = connection.execute(_READ, [str(target)]).fetchone()
    return row is not None and (row[0], row[1]) < told(client, target)


def replacement(connection: Connection, client: Client, target: UUID) -> str | None:
    """Returns what took the place of the PostgreSQL whose rows were copied, and what to do; None if it is the same one.

    Raises:
        ClickHouseError: ClickHouse did not answer or returned an error.
    """
    if was_put_back(connection, client, target):
        return PUT_BACK
    if not is_same_server(connection, target):
        return f"PostgreSQL was restored from another server, or upgraded: run {START_ANEW}"
    return None


def mark(connection: Connection, client: Client, target: UUID, epoch: int) -> None:
    """Counts, and tells ClickHouse. Call it after reading the watermark, and before copying rows below it.

    Raises:
        SyncError: another process has reset the sync.
        ClickHouseError: ClickHouse did not answer or returned an error.
    """
    row = connection.execute(_COUNT, {"target": str(target), "epoch": epoch}).fetchone()
    if row is None:
        raise SyncError("the sync was reset while it ran; the next run starts from the first row")
    client.command(_TELL, parameters={"target": target, "epoch": epoch, "mark": row[0]})
