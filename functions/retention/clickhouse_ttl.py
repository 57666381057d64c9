"""Sets how long ClickHouse keeps events: the TTL of its table."""

import re

from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client

from functions.shared.clickhouse import TABLE

_ENGINE = """
    SELECT engine_full
    FROM system.tables
    WHERE database = currentDatabase() AND name = {name:String}
"""

_CURRENT = re.compile(r" TTL (.+?)(?: SETTINGS .*)?$", re.DOTALL)

# Uses the day, not the second: a DateTime ends in 2106, and overflows into the past beyond that.
_WANTED = "toDate(timestamp) + toIntervalMonth({months})"

_MODIFY = "ALTER TABLE ai_usage_events {on_cluster} MODIFY TTL {ttl}"

_REMOVE = "ALTER TABLE ai_usage_events {on_cluster} REMOVE TTL"


def keep_months(client: Client, months: int | None, cluster: str | None, *, dry_run: bool) -> str | None:
    """Makes ClickHouse keep events for `months` months, or for ever if None.

    Returns:
        What was done; None if nothing had to be done, or the table does not exist yet.

    Raises:
        ClickHouseError: ClickHouse did not answer, or refused the statement.
    """
    rows = client.query(_ENGINE, parameters={"name": TABLE}).result_rows
    if not rows:
        return None
    on_cluster = f"ON CLUSTER {quote_identifier(cluster)}" if cluster else ""
    found = _CURRENT.search(rows[0][0])
    current = found[1] if found else None
    wanted = _WANTED.format(months=months) if months else None
    if current == wanted:
        return None
    if wanted is None:
        statement, done = _REMOVE.format(on_cluster=on_cluster), "removed"
    else:
        statement, done = _MODIFY.format(on_cluster=on_cluster, ttl=wanted), f"set to {months} months"
    if not dry_run:
        client.command(statement)
    return done
