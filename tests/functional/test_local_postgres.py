"""The local stack's PostgreSQL."""

import os
import pwd
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from infra.local import ports, postgres


@pytest.fixture
def data(data_folder: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=data_folder)) / "postgres"
    yield folder
    postgres.stop(folder)


@pytest.fixture
def log(data: Path) -> Path:
    return data.with_name("log") / "postgres.log"


def remember(url: str, number: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS numbers (number int)")
        connection.execute("INSERT INTO numbers VALUES (%s)", [number])


def numbers(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY number")]


def test_servers_that_start_side_by_side_create_their_user_once(monkeypatch: pytest.MonkeyPatch) -> None:
    users: list[str] = []

    def getpwnam(name: str) -> str:
        if name not in users:
            raise KeyError(name)
        return name

    def useradd(command: list[str], **_: object) -> None:
        time.sleep(0.05)
        users.append(command[-1])

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", getpwnam)
    monkeypatch.setattr(subprocess, "run", useradd)
    with ThreadPoolExecutor(4) as starts:
        assert set(starts.map(lambda _: postgres.system_user(), range(4))) == {postgres.SYSTEM_USER}
    assert users == [postgres.SYSTEM_USER]


def test_what_is_stored_outlives_a_stop(data: Path, log: Path) -> None:
    url = postgres.start(data, log)
    remember(url, 1)
    postgres.stop(data)
    assert not postgres.is_running(data)
    assert numbers(postgres.start(data, log)) == [1]


def test_what_is_stored_outlives_a_kill(data: Path, log: Path) -> None:
    url = postgres.start(data, log)
    remember(url, 1)
    os.kill(postgres.server_pid(data), signal.SIGKILL)
    url = postgres.start(data, log)
    remember(url, 2)
    assert numbers(url) == [1, 2]


def test_a_server_that_ends_by_itself_when_it_is_to_be_stopped_is_stopped(
    data: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.start(data, log)
    send_signal = psutil.Process.send_signal

    def send_too_late(server: psutil.Process, number: int) -> None:
        server.kill()
        server.wait()
        send_signal(server, number)

    monkeypatch.setattr(psutil.Process, "send_signal", send_too_late)
    postgres.stop(data)
    assert not postgres.is_running(data)


def test_a_pid_file_whose_number_is_another_process_is_no_obstacle(data: Path, log: Path) -> None:
    postgres.start(data, log)
    written = (data / "postmaster.pid").read_text().splitlines()
    postgres.stop(data)
    (data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *written[1:]]) + "\n")
    assert not postgres.is_running(data)
    postgres.start(data, log)
    assert postgres.is_running(data)


def test_a_server_that_a_killed_run_left_behind_is_replaced(data: Path, log: Path) -> None:
    remember(postgres.start(data, log), 1)
    left_behind = postgres.server_pid(data)
    assert numbers(postgres.start(data, log)) == [1]
    assert postgres.server_pid(data) != left_behind


def test_the_address_stays_the_same(data: Path, log: Path) -> None:
    url = postgres.start(data, log)
    postgres.stop(data)
    assert postgres.start(data, log) == url


def test_a_port_that_another_takes_before_the_server_is_up_is_left_to_it(
    data: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((ports.HOST, 0)) as other:
        free, taken = ports.free, [other.getsockname()[1]]  # which was free when one looked
        monkeypatch.setattr(ports, "free", lambda preferred=None: taken.pop() if taken else free(preferred))
        remember(postgres.start(data, log), 1)
        assert taken == []


def test_a_stopped_server_is_started_by_pg_ctl_at_the_same_address(data: Path, log: Path) -> None:
    url = postgres.start(data, log)
    remember(url, 1)
    owner = data.stat()
    for action in ("stop", "start"):
        subprocess.run(
            [postgres.PROGRAMS / "pg_ctl", "-w", "-D", data, action],
            cwd=data,
            user=owner.st_uid,
            group=owner.st_gid,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
    assert numbers(url) == [1]


def test_nobody_but_this_machine_reaches_it(data: Path, log: Path) -> None:
    url = postgres.start(data, log)
    assert urlsplit(url).hostname == "127.0.0.1"
    with psycopg.connect(url) as connection:
        shown = [connection.execute(f"SHOW {name}").fetchone() for name in ("listen_addresses", "fsync")]
    assert shown == [("127.0.0.1",), ("on",)]


def test_a_server_that_can_not_start_says_why(data: Path, log: Path) -> None:
    postgres.start(data, log)
    postgres.stop(data)
    with (data / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(postgres.PostgresError, match="pg_ctl"):
        postgres.start(data, log)
    assert "no_such_setting" in log.read_text()


def test_nobody_gets_in_without_the_password(data: Path, log: Path) -> None:
    url = postgres.start(data, log)
    password = urlsplit(url).password
    assert password is not None
    assert len(password) >= 32
    for wrong in (url.replace(f":{password}@", "@"), url.replace(password, "x")):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong)
    with psycopg.connect(url) as connection:
        stored = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'").fetchone()
        ways = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
    assert stored is not None
    assert stored[0].startswith("SCRAM-SHA-256$")
    assert ways == [("scram-sha-256",)]


def test_a_server_that_trusted_everybody_asks_for_a_password_after_a_restart(data: Path, log: Path) -> None:
    url = postgres.start(data, log)
    remember(url, 1)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER ROLE postgres PASSWORD NULL")
    postgres.password_file(data).unlink()
    (data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
    left_behind = postgres.server_pid(data)
    url = postgres.start(data, log)
    assert postgres.server_pid(data) != left_behind
    assert numbers(url) == [1]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace(f":{urlsplit(url).password}@", "@"))


def test_a_password_that_is_lost_is_replaced(data: Path, log: Path) -> None:
    before = postgres.start(data, log)
    remember(before, 1)
    postgres.password_file(data).unlink()
    after = postgres.start(data, log)
    assert urlsplit(after).password != urlsplit(before).password
    assert numbers(after) == [1]


def test_the_password_and_the_log_are_their_owners_alone(data: Path, log: Path) -> None:
    url = postgres.start(data, log)
    password = str(urlsplit(url).password)
    for path in (data, log, postgres.password_file(data)):
        assert path.stat().st_mode & 0o077 == 0, path
    assert password not in log.read_text()
    for process in psutil.process_iter(["cmdline"]):
        assert password not in " ".join(process.info["cmdline"] or [])
