"""The processes of the local stack."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.local import stack
from infra.local.process import Processes, StartError, run, wait_until

PARENT = """
import subprocess, sys, time

subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("up", flush=True)
time.sleep(600)
"""
SECONDS = 30


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[psutil.Popen]:
    """A process that has a child."""
    log = tmp_path / "log"
    process = Processes(tmp_path / "processes.json").start([sys.executable, "-c", PARENT], log, {})
    try:
        wait_until(lambda: b"up" in log.read_bytes(), process, "The parent", log, SECONDS)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_what_a_killed_run_left_behind_is_stopped_with_its_children(tmp_path: Path, parent: psutil.Popen) -> None:
    family = [parent, *parent.children()]
    assert len(family) == 2
    assert not stack.stop(tmp_path)
    assert not any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in family)


def test_children_whose_parent_was_killed_are_stopped_too(tmp_path: Path, parent: psutil.Popen) -> None:
    children = parent.children()
    assert len(children) == 1
    parent.kill()
    assert not stack.stop(tmp_path)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_a_program_that_is_missing_is_named_with_its_log(tmp_path: Path) -> None:
    missing, log = tmp_path / "no-such-program", tmp_path / "log"
    with pytest.raises(StartError, match=rf"{missing} can't be run.*{log}"):
        Processes(tmp_path / "record").start([missing], log, {})
    with pytest.raises(StartError, match=rf"{missing} can't be run.*{log}"):
        run([missing], log, {}, tmp_path, SECONDS)


def test_a_process_that_got_the_number_of_one_of_ours_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (tmp_path / "record").write_text(json.dumps([(other.pid, psutil.Process(other.pid).create_time() - 1)]))
        Processes(tmp_path / "record").stop()
        assert other.poll() is None


def test_a_component_that_ends_while_it_is_waited_for_is_named_with_its_log(tmp_path: Path) -> None:
    process = Processes(tmp_path / "record").start([sys.executable, "-c", "exit(3)"], tmp_path / "log", {})
    with pytest.raises(StartError, match=rf"The component .* 3.*{tmp_path / 'log'}"):
        wait_until(lambda: False, process, "The component", tmp_path / "log", SECONDS)
