"""`make start` and `make demo` where the environment names an AWS endpoint."""

import os
import subprocess
import sys
from pathlib import Path

from infra.local import ports
from tests.integration.deployment import runs_functions
from tests.support.checkout import ROOT

SECONDS = 600


def demo(folder: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.local", "demo", "--folder", str(folder)]
    environment = os.environ | {"AWS_ENDPOINT_URL": endpoint}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
    )


def test_the_stack_is_deployed_to_the_endpoint_that_is_named_or_says_why_not(endpoint: str, open_folder: Path) -> None:
    result = demo(open_folder / "stack", endpoint)
    if runs_functions(endpoint):
        assert result.returncode == 0, result.stderr
        assert "events are stored" in result.stdout
    else:
        assert result.returncode == 1
        assert f"{endpoint} does not run functions" in result.stderr
        assert "Building" not in result.stdout
    assert not (open_folder / "stack" / "stack.json").exists()
    assert not (open_folder / "stack" / "processes.json").exists()


def test_an_endpoint_that_does_not_answer_is_named(open_folder: Path) -> None:
    endpoint = f"http://{ports.HOST}:{ports.free()}"
    result = demo(open_folder / "stack", endpoint)
    assert result.returncode == 1
    assert f"Nothing answers at {endpoint}" in result.stderr
