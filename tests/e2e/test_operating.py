"""The commands for operators, run as they are in the checkout of a stack."""

import os
import subprocess
import sys

import pytest

from tests.e2e.conftest import Stack

SECONDS = 300
UNSET = ("DATABASE_URL", "CLICKHOUSE_URL", "QUEUE_URL", "AWS_ENDPOINT_URL", "AUTH_SECRET", "USAGE_EVENTS_TOKEN")


def run(stack: Stack, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    checkout = stack.folder.parent
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", *arguments],
        cwd=checkout,
        env=kept | {"PYTHONPATH": str(checkout), **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_doctor_finds_a_local_stack_healthy(stack: Stack) -> None:
    result = run(stack, "doctor")
    assert result.returncode == 0, result.stdout + result.stderr
    for line in ("writer: privileges", "reader: privileges", "migrations", "queue", "revoked tokens", "tokens"):
        assert any(one.startswith("ok") and f"{line}: " in one for one in result.stdout.splitlines()), result.stdout


@pytest.mark.parametrize("shown_in", ["postgresql", "graphql"])
def test_a_little_load_is_accepted_and_shown(stack: Stack, shown_in: str) -> None:
    options = ["--rate", "5", "--seconds", "3", "--producers", "2", "--wait", "120", "--shown-in", shown_in]
    result = run(stack, "load", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Still on their way: 0" in result.stdout
