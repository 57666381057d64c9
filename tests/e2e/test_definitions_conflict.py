"""Starting the local stack with definitions that contradict each other."""

import subprocess
import sys
from pathlib import Path

import psutil

from tests.support import checkout
from tests.support.definitions import CONFLICT


def test_a_start_with_conflicting_definitions_names_both_files_and_cleans_up(tmp_path: Path) -> None:
    copy = checkout.copy(tmp_path / "checkout")
    (copy / "definitions" / "conflicting.py").write_text(CONFLICT)
    command = [sys.executable, "-m", "infra.local", "start"]
    result = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "definitions/conflicting.py" in result.stderr
    assert "definitions/troubleshoot_job.py" in result.stderr
    assert not (copy / ".local" / "stack.json").exists()
    assert not [
        process.pid for process in psutil.process_iter(["cmdline"]) if str(copy) in str(process.info["cmdline"])
    ]
