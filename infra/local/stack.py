"""Starts, finds and stops the local stack."""

import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import clickhouse_connect
import msgspec
from rich.console import Console

from functions.shared import settings
from functions.shared.grant import EVERYTHING, READ, WRITE
from infra.local import aws, deploy, ports, postgres, secret_file, tools
from infra.local.process import Processes, StartError, listens, wait_until
from infra.operations.token import sign
from infra.stack_file import Stack

CLICKHOUSE_SECONDS = 60
STOP_SECONDS = 60
TOKEN_LIFE = timedelta(days=365)

console = Console(highlight=False)


class AlreadyRunning(Exception):
    """A stack already runs on this folder."""


def running(folder: Path) -> Stack | None:
    """Returns the running stack of the folder, if any."""
    file = folder / "stack.json"
    if not file.exists() or not _is_locked(folder):
        return None
    return msgspec.json.decode(file.read_bytes(), type=Stack)


@contextmanager
def up(folder: Path, *, clickhouse: bool = True) -> Iterator[Stack]:
    """Runs the stack during the block.

    Args:
        clickhouse: whether the functions use ClickHouse.

    Raises:
        AlreadyRunning: the stack is already running.
        StartError: a component did not start; the others were stopped.
    """
    folder = folder.absolute()
    logs = folder / "log"
    before = os.umask(0o077)  # inherited by all started processes
    try:
        logs.mkdir(parents=True, exist_ok=True)
        with _up(folder, logs, clickhouse=clickhouse) as stack:
            yield stack
    finally:
        os.umask(before)


@contextmanager
def _up(folder: Path, logs: Path, *, clickhouse: bool) -> Iterator[Stack]:
    with _locked(folder):
        _make_private(folder, logs)
        processes = Processes(folder / "processes.json")
        processes.stop()  # processes of a killed run
        try:
            stack = _start(folder, logs, processes, clickhouse=clickhouse)
            _write(folder / "stack.json", stack)
            yield stack
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # an interrupt must not leave processes behind
            with step("Stopping"):
                _take_down(folder)


def _make_private(folder: Path, logs: Path) -> None:
    """Denies other users access to the folder and its existing files.

    If root starts PostgreSQL as another user, `postgres.start` lets that user pass through the folders afterwards. The
    caller must hold the folder's lock: a PostgreSQL that runs already would stop at its next checkpoint.
    """
    for path in (folder, logs):
        path.chmod(0o700)
    for path in (*folder.iterdir(), *logs.iterdir()):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o600)


def without_password(url: str) -> str:
    """Returns the URL without its password."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}").geturl()


def stop(folder: Path) -> bool:
    """Stops the running stack; returns False if none runs, after cleaning up what a killed one left.

    Raises:
        StartError: the stack does not stop in time.
    """
    if not _is_locked(folder):
        _take_down(folder)
        return False
    os.kill(int((folder / "lock").read_text()), signal.SIGTERM)
    give_up = time.monotonic() + STOP_SECONDS
    while _is_locked(folder):
        if time.monotonic() > give_up:
            raise StartError(f"The stack does not stop; its logs are in {folder / 'log'}")
        time.sleep(0.1)
    return True


def start_clickhouse(folder: Path, log: Path, processes: Processes) -> str:
    """Starts ClickHouse's engine on the data in the folder, and returns its URL.

    Raises:
        StartError: the engine did not start.
    """
    port = ports.free()
    try:
        return _start_clickhouse_on(port, folder, log, processes)
    except StartError:
        if ports.is_free(port):
            raise
        return _start_clickhouse_on(ports.free(), folder, log, processes)  # another process took the port meanwhile


def _start_clickhouse_on(port: int, folder: Path, log: Path, processes: Processes) -> str:
    password_file = folder / "clickhouse_password"
    url = f"clickhouse://default:{secret_file.read_or_create(password_file)}@{ports.HOST}:{port}/default"
    command = [sys.executable, "-m", "infra.local.clickhouse"]
    command += ["--data", str(folder / "clickhouse"), "--port", str(port), "--password-file", str(password_file)]
    process = processes.start(command, log, {"PYTHONPATH": str(tools.ROOT)}, inherit=False)
    wait_until(lambda: listens(process, port), process, "ClickHouse", log, CLICKHOUSE_SECONDS)
    clickhouse_connect.get_client(dsn=url).close()
    return url


def _start(folder: Path, logs: Path, processes: Processes, *, clickhouse: bool) -> Stack:
    with step("Checking the definitions"):
        deploy.check_definitions()
    with step("PostgreSQL"):
        try:
            database_url = postgres.start(folder / "postgres", logs / "postgres.log")
        except postgres.PostgresError as error:
            raise StartError(f"PostgreSQL did not start; its log is {logs / 'postgres.log'}: {error}") from error
    with step("ClickHouse (chDB)"):
        clickhouse_url = start_clickhouse(folder, logs / "clickhouse.log", processes)
    with step("AWS"):
        running_endpoint = aws.running_endpoint()
        endpoint = running_endpoint or aws.start(folder, logs / "aws.log", processes)
        if running_endpoint is not None:
            deploy.require_functions(endpoint)
    auth_secret = deploy.auth_secret(folder)
    with step("Building the functions"):
        deploy.build(folder, logs / "build.log", for_this_machine=running_endpoint is None)
    with step("Deploying the functions"):
        parameters = {
            "DatabaseSecretArn": deploy.put_secret(deploy.DATABASE_SECRET, database_url, endpoint),
            **deploy.put_role_secrets(folder, database_url, endpoint),
            "AuthSecretArn": deploy.put_secret("ai-usage-events-auth", auth_secret, endpoint),
            "AuthRevocationsArn": deploy.create_revocation_list(endpoint),
        }
        if accepted := settings.accept_unreadable():
            parameters["AcceptUnreadable"] = ",".join(sorted(accepted))
        clickhouse_secret = deploy.put_secret("ai-usage-events-clickhouse", clickhouse_url, endpoint)
        if clickhouse:
            parameters["ClickHouseSecretArn"] = clickhouse_secret
        outputs = deploy.deploy(folder, endpoint, parameters, logs / "deploy.log")
        if running_endpoint is None:
            deploy.enable_binary_bodies(endpoint, outputs["ApiId"])
        api_url = aws.api_url(endpoint, outputs["ApiId"], outputs["ApiStage"])
        deploy.point_canary(endpoint, outputs["CanaryFunctionName"], api_url)
    return Stack(
        api_url=api_url,
        queue_url=outputs["QueueUrl"],
        dlq_url=outputs["DeadLetterQueueUrl"],
        aws_endpoint_url=endpoint,
        database_url=database_url,
        clickhouse_url=clickhouse_url,
        token=sign(auth_secret, "1", [READ, WRITE], [EVERYTHING], TOKEN_LIFE),
        auth_secret=auth_secret,
        auth_revocations_arn=parameters["AuthRevocationsArn"],
        database_writer_secret_arn=parameters["DatabaseWriterSecretArn"],
        database_reader_secret_arn=parameters["DatabaseReaderSecretArn"],
    )


def _take_down(folder: Path) -> None:
    (folder / "stack.json").unlink(missing_ok=True)
    Processes(folder / "processes.json").stop()
    postgres.stop(folder / "postgres")


@contextmanager
def step(name: str) -> Iterator[None]:
    """Shows progress of a step, and its duration when done."""
    start = time.monotonic()
    with console.status(f"{name} …"):
        if not console.is_terminal:
            console.print(f"{name} …")
        yield
    console.print(f"{name}: done in {time.monotonic() - start:.1f} s")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which is released when the process ends in any way."""
    with (folder / "lock").open("a+") as lock:
        if not _lock(lock):
            raise AlreadyRunning(f"The local stack in {folder} is already running; `make stop` stops it")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
        lock.truncate(0)


def _is_locked(folder: Path) -> bool:
    file = folder / "lock"
    if not file.exists():
        return False
    with file.open() as lock:
        return not _lock(lock)


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(file: Path, stack: Stack) -> None:
    """Writes the file atomically."""
    scratch = file.with_suffix(".new")
    scratch.touch(mode=0o600)
    scratch.write_text(json.dumps(msgspec.to_builtins(stack), indent=2) + "\n")
    scratch.replace(file)
