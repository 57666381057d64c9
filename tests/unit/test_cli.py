import json
import subprocess
import sys
from pathlib import Path

import jwt
import pytest
from graphql import build_schema
from typer.testing import CliRunner

from infra.cli import app

CONFLICT = """
from definitions import Feature

Feature("conflicting", owner="nobody").events(another=7)
"""


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_every_definition_is_listed_by_id() -> None:
    lines = [line for line in run("definitions", "list").splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    assert [int(row[0]) for row in cells] == list(range(1, 23))
    assert cells[6] == ["7", "troubleshoot_job", "troubleshoot_job", "pipeline-execution", ""]
    assert cells[0][4] == "yes"


def test_definitions_that_fit_are_counted() -> None:
    assert run("definitions", "check") == "22 events in 5 features fit each other.\n"


def test_the_printed_schema_is_one() -> None:
    schema = build_schema(run("schema"))
    assert schema.query_type is not None
    assert "AiUsageEventType" in schema.type_map


SECRET = "a secret of thirty-two characters, at least"
ARGUMENTS = ["token", "create", "--sub", "5", "--scope", "events:read", "--scope", "events:write"]


def claims(token: str) -> dict[str, object]:
    return jwt.decode(token.strip(), SECRET, algorithms=["HS256"])


@pytest.mark.parametrize("from_stack", [False, True])
def test_a_token_is_signed_with_the_secret_of_the_settings_or_of_the_running_stack(
    from_stack: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUTH_SECRET", raising=False)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    if from_stack:
        (tmp_path / ".local").mkdir()
        (tmp_path / ".local" / "stack.json").write_text(json.dumps({"auth_secret": SECRET}))
    else:
        monkeypatch.setenv("AUTH_SECRET", SECRET)
    created = claims(run(*ARGUMENTS, "--namespace", "27/", "--namespace", "*", "--expires", "30d"))
    assert (created["sub"], created["scope"], created["namespaces"]) == ("5", "events:read events:write", ["27/", "*"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*ARGUMENTS, "--namespace", "27/28"], "27/28"),
        ([*ARGUMENTS, "--scope", "everything"], "everything"),
        ([*ARGUMENTS, "--expires", "soon"], "soon"),
        (ARGUMENTS, "AUTH_SECRET"),
    ],
)
def test_a_token_that_can_not_be_made_is_explained(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUTH_SECRET", raising=False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code != 0
    assert said in result.output


def test_definitions_that_conflict_are_refused_with_the_names_of_both_files(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    for folder in ("definitions", "functions", "infra"):
        subprocess.run(["cp", "-r", root / folder, tmp_path], check=True)
    (tmp_path / "definitions" / "conflicting.py").write_text(CONFLICT)
    result = subprocess.run(
        [sys.executable, "-m", "infra.cli", "definitions", "check"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "definitions/conflicting.py and definitions/troubleshoot_job.py" in result.stderr
