"""Processes that the local stack starts: kept track of, so that none outlives it."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

STOP_SECONDS = 15
RECORD = "LOCAL_STACK_RECORD"  # in the environment of all that a stack starts


class StartError(Exception):
    """A component did not come up; the message says why and where its log is."""


class Processes:
    """The processes of a stack, each the leader of a group of its own; the record of them survives a kill."""

    def __init__(self, record: Path) -> None:
        self._record = record.absolute()

    def start(
        self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str], *, inherit: bool = True
    ) -> psutil.Popen:
        """Starts a program whose output goes to `log`.

        Args:
            inherit: whether it gets this process's environment too, which may hold a person's secrets.

        Raises:
            StartError: there is no such program.
        """
        whole = {**(os.environ if inherit else {}), **environment, RECORD: str(self._record)}
        process = _started(command, log, whole, None)
        self._write([*self._read(), (process.pid, process.create_time())])
        return process

    def stop(self) -> None:
        """Stops all that are recorded and still run, also those that a killed stack left behind."""
        for pid, created in reversed(self._read()):
            _stop(list({*_members(pid, created), *self._orphans(pid)}))
        self._record.unlink(missing_ok=True)

    def _orphans(self, pid: int) -> list[psutil.Process]:
        """What is left of the session of `pid`, whose leader may be gone, with all below it."""
        orphans = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):  # it is gone, or another user's
                if os.getsid(process.pid) == pid and process.environ().get(RECORD) == str(self._record):
                    orphans += [process, *process.children(recursive=True)]
        return orphans

    def _read(self) -> list[tuple[int, float]]:
        if not self._record.exists():
            return []
        return [(int(pid), float(created)) for pid, created in json.loads(self._record.read_text())]

    def _write(self, processes: Sequence[tuple[int, float]]) -> None:
        self._record.write_text(json.dumps(processes))


def run(command: Sequence[str | Path], log: Path, environment: Mapping[str, str], folder: Path, seconds: float) -> int:
    """Runs a program in `folder` to its end, and returns its exit code; nothing of it stays, however the wait ends.

    Raises:
        StartError: there is no such program.
        psutil.TimeoutExpired: it takes longer.
    """
    process = _started(command, log, {**os.environ, **environment}, folder)
    created = process.create_time()
    try:
        return int(process.wait(seconds))
    finally:
        _stop(_members(process.pid, created))


def wait_until(ready: Callable[[], bool], process: psutil.Popen, name: str, log: Path, seconds: float) -> None:
    """Waits until `ready`.

    Raises:
        StartError: the process ended, or the time is over.
    """
    give_up = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            raise StartError(f"{name} ended with exit code {process.returncode}; its log is {log}")
        if time.monotonic() > give_up:
            raise StartError(f"{name} is not ready after {seconds:.0f} s; its log is {log}")
        time.sleep(0.1)


def listens(process: psutil.Popen, port: int) -> bool:
    """Tell whether it, or a process below it, is what listens on the port."""
    for member in _members(process.pid, process.create_time()):
        with contextlib.suppress(psutil.Error):
            for connection in member.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return True
    return False


def _started(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str], folder: Path | None
) -> psutil.Popen:
    log.touch(mode=0o600)
    with log.open("ab") as output:
        try:
            return psutil.Popen(
                [str(part) for part in command],
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise StartError(f"{command[0]} can't be run: {error.strerror}; its log is {log}") from error


def _members(pid: int, created: float) -> list[psutil.Process]:
    """The process and all below it; none if it is gone, or its number another's by now."""
    try:
        leader = psutil.Process(pid)
        return [leader, *leader.children(recursive=True)] if leader.create_time() == created else []
    except psutil.NoSuchProcess:
        return []


def _stop(members: Sequence[psutil.Process]) -> None:
    for process in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, alive = psutil.wait_procs(members, timeout=STOP_SECONDS)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=STOP_SECONDS)
