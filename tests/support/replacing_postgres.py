"""Servers of PostgreSQL that take the place of another one: restored to a moment, loaded from a dump, or replicated."""

import os
import pwd
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psycopg

from infra.local import postgres
from tests.support.stoppable_postgres import stoppable_postgres

DATABASE = "events"
ARCHIVED_WITHIN_SECONDS = 60


class Primary:
    """A server whose log is archived, and whose tables can be replicated.

    Attributes:
        url: URL of its database, which has all tables.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url

    def back_up(self, into: Path) -> None:
        """Copies the server's files while it runs."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT pg_backup_start('a test', true)")
            shutil.copytree(self.folder / "data", into, ignore=_left_out)
            row = connection.execute("SELECT labelfile FROM pg_backup_stop()").fetchone()
        assert row is not None
        (into / "backup_label").write_text(row[0])
        shutil.copy(postgres.password_file(self.folder / "data"), postgres.password_file(into))

    def now(self) -> datetime:
        """The server's moment, which no transaction before or after shares."""
        time.sleep(0.1)
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute("SELECT clock_timestamp()").fetchone()
        time.sleep(0.1)
        assert row is not None
        moment: datetime = row[0]
        return moment

    def stop(self) -> None:
        """Stops the server for good."""
        postgres.stop(self.folder / "data")

    def archive_everything(self) -> None:
        """Waits until all of the log is archived."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
        assert row is not None
        give_up = time.monotonic() + ARCHIVED_WITHIN_SECONDS
        while not (self.folder / "archive" / row[0]).exists():
            assert time.monotonic() < give_up
            time.sleep(0.1)


@contextmanager
def primary(folder: Path, retention_months: int) -> Iterator[Primary]:
    """Runs a primary in the folder while the block runs."""
    archive = folder / "archive"
    archive.mkdir(parents=True)
    _give(archive)
    settings = (
        "archive_mode = on",
        f"archive_command = 'cp %p {archive}/%f'",
        "wal_level = logical",
    )
    with stoppable_postgres(folder / "data", retention_months, *settings):
        postgres.stop(folder / "data")
        yield Primary(folder, postgres.start(folder / "data", folder / "postgres.log", DATABASE))


@contextmanager
def restored(backup: Path, archive: Path, moment: datetime) -> Iterator[str]:
    """Runs a server on a copy of a primary's files, put back to a moment; yields the URL of its database."""
    with (backup / "postgresql.auto.conf").open("a") as file:
        file.write(
            f"archive_mode = off\nrestore_command = 'cp {archive}/%f %p'\nrecovery_target_action = 'promote'\n"
            f"recovery_target_time = '{moment.isoformat()}'\n"
        )
    (backup / "recovery.signal").touch()
    _give(backup)
    with running(backup) as url, psycopg.connect(url, autocommit=True) as connection:
        give_up = time.monotonic() + postgres.START_SECONDS
        while connection.execute("SELECT pg_is_in_recovery()").fetchone() != (False,):
            assert time.monotonic() < give_up
            time.sleep(0.1)
        yield url


@contextmanager
def running(data: Path, epoch: int = 0) -> Iterator[str]:
    """Runs a server, which is new if the folder is missing; yields the URL of its database.

    Args:
        epoch: transactions have numbers from this many times 2^32 on.
    """
    log = data.with_suffix(".log")
    try:
        url = postgres.start(data, log, DATABASE)
        if epoch:
            postgres.stop(data)
            postgres.run("pg_resetwal", data, f"--epoch={epoch}", str(data), user=postgres.system_user())
            url = postgres.start(data, log, DATABASE)
        yield url
    finally:
        postgres.stop(data)


def environment(old: str, new: str) -> dict[str, str]:
    """The environment of a shell with PostgreSQL's programs, and both databases as `$OLD` and `$NEW`."""
    path = f"{postgres.PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "OLD": old, "NEW": new, "LC_ALL": "C"}


def _left_out(folder: str, names: list[str]) -> list[str]:
    """What is not copied: the server's marks that it runs, and its log, which comes from the archive."""
    is_log = Path(folder).name == "pg_wal"
    return [name for name in names if is_log or name in ("postmaster.pid", "postmaster.opts")]


def _give(folder: Path) -> None:
    """Gives a folder with all in it to the user that servers run as."""
    user = postgres.system_user()
    if user is None:
        return
    owner = pwd.getpwnam(user)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.pw_uid, owner.pw_gid)
