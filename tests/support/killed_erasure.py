"""Erases a user in processes that are killed at lines chosen by chance, then wholly.

Run with the URLs of both stores, the user's id, the number of processes and the most lines of one; prints how often a
process was killed.
"""

import sys

from infra.operations.erasure.erase import Eraser
from infra.operations.erasure.subject import Subject
from tests.support.killed_at_lines import run_killed


def main() -> None:
    database_url, clickhouse_url, user, times, most_lines = sys.argv[1:]

    def erase() -> None:
        erased = Eraser(database_url, clickhouse_url).erase(Subject("user", user), "a test")
        assert erased.clickhouse == "done", erased.failure

    print(run_killed(erase, "erasure", int(times), int(most_lines)))


if __name__ == "__main__":
    main()
