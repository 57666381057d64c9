"""What ClickHouse is asked for so that a confirmed insert stays: a quorum of replicas, or files on the disk."""

import re

from clickhouse_connect.driver.client import Client

from functions.shared.clickhouse import TABLE

MAX_QUORUM_WAIT_SECONDS = 20
"""How long an insert waits for its quorum: less than a sync leaves itself for the chunks that are on their way."""

# Parallel: an insert whose quorum is not known yet (`UNKNOWN_STATUS_OF_INSERT`) must not keep the next one out.
QUORUM_SETTINGS = {
    "insert_quorum": "auto",  # the majority
    "insert_quorum_parallel": "1",
    "insert_quorum_timeout": str(MAX_QUORUM_WAIT_SECONDS * 1000),
}

# ClickHouse has these for a table, not for a statement. A merge removes the parts that were written to the disk, so
# that what it makes of them has to be there as well.
FSYNC_SETTINGS = {
    "fsync_after_insert": "1",
    "fsync_part_directory": "1",
    "min_rows_to_fsync_after_merge": "1",
    "min_compressed_bytes_to_fsync_after_merge": "1",
}

_ENGINE = """
    SELECT engine, engine_full
    FROM system.tables
    WHERE database = currentDatabase() AND name = {name:String}
"""

_SETTING = re.compile(r"\b(\w+) = (\d+)")

# Changes what the table says of itself and rewrites no part of it.
_ALTER = f"ALTER TABLE {TABLE} {{change}}"


def make_durable(client: Client, *, durable: bool) -> None:
    """Makes what the client inserts from now on stay once it is confirmed, or no longer asks for that.

    A replicated table gets inserts with a quorum. The table of a single server writes its parts to the disk, fsync
    included. Other engines see to it by themselves.

    Raises:
        ClickHouseError: ClickHouse did not answer, or refused.
    """
    rows = client.query(_ENGINE, parameters={"name": TABLE}).result_rows
    engine, definition = rows[0] if rows else ("", "")
    if engine.startswith("Replicated") and durable:
        for name, value in QUORUM_SETTINGS.items():
            client.set_client_setting(name, value)
    elif engine.endswith("MergeTree") and not engine.startswith(("Replicated", "Shared")):
        _write_to_disk(client, dict(_SETTING.findall(definition.partition(" SETTINGS ")[2])), durable=durable)


def _write_to_disk(client: Client, current: dict[str, str], *, durable: bool) -> None:
    """Brings the table's settings about fsync to what is wanted, if they differ."""
    if durable:
        changes = [f"{name} = {value}" for name, value in FSYNC_SETTINGS.items() if current.get(name) != value]
        change = "MODIFY SETTING "
    else:
        changes = [name for name in FSYNC_SETTINGS if name in current]
        change = "RESET SETTING "
    if changes:
        client.command(_ALTER.format(change=change + ", ".join(changes)))
