"""Refills a database in processes that are killed at lines chosen by chance, then wholly.

Run with the URLs of both stores, the number of processes, the most lines of one, and how many rows one transaction
stores; prints how often a process was killed.
"""

import sys

from infra.operations.refill import month
from infra.operations.refill.refill import Refill
from tests.support.killed_at_lines import run_killed


def main() -> None:
    database_url, clickhouse_url, times, most_lines, rows_at_once = sys.argv[1:]
    month.ROWS_AT_ONCE = int(rows_at_once)
    print(run_killed(lambda: Refill(database_url, clickhouse_url).run(), "refill", int(times), int(most_lines)))


if __name__ == "__main__":
    main()
