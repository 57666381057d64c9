"""The local stack itself."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from infra.local import postgres
from tests.checkout import ROOT
from tests.e2e.conftest import Stack

LISTENING = psutil.CONN_LISTEN


def local(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.local", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_second_start_says_that_the_first_is_running(stack: Stack) -> None:
    before = (stack.folder / "stack.json").read_bytes()
    second = local("start", "--folder", stack.folder)
    assert second.returncode != 0
    assert "already running" in second.stderr
    assert (stack.folder / "stack.json").read_bytes() == before


def test_the_stack_listens_on_this_machine_alone(stack: Stack) -> None:
    servers = [psutil.Process(stack.process_id), psutil.Process(postgres.server_pid(stack.postgres_data))]
    processes = [*servers, *(child for server in servers for child in server.children(recursive=True))]
    assert {address for process in processes for address in listening_addresses(process)} == {"127.0.0.1"}


def listening_addresses(process: psutil.Process) -> set[str]:
    """Where the process listens; nowhere, if it has ended by now."""
    with suppress(psutil.NoSuchProcess):
        connections = process.net_connections("inet")
        return {connection.laddr.ip for connection in connections if connection.status == LISTENING}
    return set()


def test_a_stack_that_is_not_running_is_stopped_at_once(tmp_path: Path) -> None:
    result = local("stop", "--folder", tmp_path)
    assert result.returncode == 0
    assert "not running" in result.stdout
