"""`python -m infra.local.clickhouse --data FOLDER --port PORT --password-file FILE`."""

import argparse
import os
import resource
import sys
from pathlib import Path

from infra.local.clickhouse import confinement, rights

MAX_OPEN_FILES = 10_240  # the most that macOS lets a process have


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--password-file", type=Path, required=True, help="file that holds the password")
    arguments = parser.parse_args()
    os.umask(0o077)
    os.environ["TZ"] = "UTC"
    _raise_limit_of_open_files()
    data = arguments.data.absolute()
    password = arguments.password_file.read_text()
    scratch = rights.make_folders(data)
    os.environ["TMPDIR"] = str(scratch)  # the engine makes a folder there as soon as it is imported
    if not confinement.confine(writable=(data, scratch), port=arguments.port):
        print("This kernel can't confine the engine to its folders: its rights alone do.", file=sys.stderr)
    # Only now: threads that the engine starts when it is imported would not be confined.
    from infra.local.clickhouse.server import Server

    Server(data, scratch, arguments.port, password).serve_forever()


def _raise_limit_of_open_files() -> None:
    """Let the engine open many files, as a ClickHouse server does: macOS lets a process open 256 by default."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


if __name__ == "__main__":
    main()
