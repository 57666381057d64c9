"""Runs a transformation again in processes that are killed at lines chosen by chance, then wholly.

Run with the URL of PostgreSQL, the file for earlier payloads and the number of processes; prints how often a process
was killed. The definitions are in the package `killed_definitions`.
"""

import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from functions.shared.catalog.registry import load
from infra.operations.reprocess.judgement import Rules
from infra.operations.reprocess.run import Reprocess
from infra.operations.reprocess.saved import Saving
from infra.operations.reprocess.stored_events import Selection
from tests.support.clock import NOW
from tests.support.killed_at_lines import run_killed

PLACES = ("run.py", "record.py", "saved.py", "transaction.py", "stored_events.py")
"""Where processes die: the other modules only compute."""

MOST_LINES = 30_000


def main() -> None:
    database_url, file, times = sys.argv[1:]

    def halve() -> None:
        """Halves each event once."""
        run = Reprocess(database_url, load("killed_definitions"), Rules(once=True))
        selection = Selection((201,), NOW - timedelta(days=90), NOW + timedelta(days=1))
        with closing(Saving(Path(file))) as saving:
            run.apply(selection, {"of": "the test"}, "a test", saving)

    print(run_killed(halve, "reprocess", int(times), MOST_LINES // int(times), PLACES))


if __name__ == "__main__":
    main()
