"""Makes confirmed inserts durable in ClickHouse: by a quorum of replicas or by fsync."""

import re

from clickhouse_connect.driver.client import Client

from functions.shared.clickhouse import TABLE

MAX_QUORUM_WAIT_SECONDS = 20
"""Longest wait of an insert for its quorum; shorter than the time a sync reserves for its last chunks."""

# Parallel, because an insert whose quorum is still unknown (`UNKNOWN_STATUS_OF_INSERT`) must not block the next one.
QUORUM_SETTINGS = {
    "insert_quorum": "auto",  # the majority
    "insert_quorum_parallel": "1",
    "insert_quorum_timeout": str(MAX_QUORUM_WAIT_SECONDS * 1000),
}

# ClickHouse has these settings only per table. Merges need them too, because a merge removes the parts that were
# written to the disk.
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

# Changes only metadata of the table and rewrites no part.
_ALTER = "ALTER TABLE {table} {change}"


def make_durable(client: Client, *, durable: bool, table: str = TABLE) -> None:
    """Makes inserts of this client durable once confirmed, or reverts that.

    Inserts into a replicated table wait for a quorum. The table of a single server uses fsync for its parts. Other
    engines need no settings.

    Raises:
        ClickHouseError: ClickHouse did not answer or returned an error.
    """
    rows = client.query(_ENGINE, parameters={"name": table}).result_rows
    engine, definition = rows[0] if rows else ("", "")
    if engine.startswith("Replicated") and durable:
        for name, value in QUORUM_SETTINGS.items():
            client.set_client_setting(name, value)
    elif engine.endswith("MergeTree") and not engine.startswith(("Replicated", "Shared")):
        _write_to_disk(client, table, dict(_SETTING.findall(definition.partition(" SETTINGS ")[2])), durable=durable)


def _write_to_disk(client: Client, table: str, current: dict[str, str], *, durable: bool) -> None:
    """Sets or resets the table's fsync settings where they differ."""
    if durable:
        changes = [f"{name} = {value}" for name, value in FSYNC_SETTINGS.items() if current.get(name) != value]
        change = "MODIFY SETTING "
    else:
        changes = [name for name in FSYNC_SETTINGS if name in current]
        change = "RESET SETTING "
    if changes:
        client.command(_ALTER.format(table=table, change=change + ", ".join(changes)))
