"""The local stack itself."""

import subprocess
import sys
from pathlib import Path

import psutil

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
    processes = [
        psutil.Process(stack.process_id),
        psutil.Process(int((stack.postgres_data / "postmaster.pid").open().readline())),
    ]
    processes += [child for process in processes for child in process.children(recursive=True)]
    addresses = {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == LISTENING
    }
    assert addresses == {"127.0.0.1"}


def test_a_stack_that_is_not_running_is_stopped_at_once(tmp_path: Path) -> None:
    result = local("stop", "--folder", tmp_path)
    assert result.returncode == 0
    assert "not running" in result.stdout
