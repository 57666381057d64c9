"""The contracts about imports in pyproject.toml."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import checkout

LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

# A module, what it may not import, and the words of the contract that says so.
FORBIDDEN = [
    ("functions/graphql/query/selection.py", "graphql", "know no GraphQL"),
    ("functions/graphql/query/store.py", "ariadne", "know no GraphQL"),
    ("functions/graphql/query/aggregation.py", "functions.graphql.types.arguments", "know no GraphQL"),
    ("functions/graphql/postgres/store.py", "functions.graphql.clickhouse.store", "over the stores"),
    ("functions/sync/sync.py", "functions.retention.retention", "do not import each other"),
    ("functions/shared/settings.py", "functions.sync.sync", "do not import each other"),
    ("functions/ingest/publisher/delivery.py", "functions.ingest.pipeline", "nothing of the server"),
    ("infra/cli/environment.py", "infra.local.aws", "do not import each other; operations"),
    ("infra/local/stack.py", "infra.cli.tokens", "do not import each other; operations"),
    ("functions/ingest/event/event.py", "functions.ingest.postgres.events", "way from the handlers"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return checkout.copy(tmp_path / "checkout")


def lint(folder: Path) -> tuple[int, str]:
    """Returns the exit code of `lint-imports` and its output in one line."""
    command: list[str | Path] = [LINT_IMPORTS, "--no-logo", "--no-cache"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return result.returncode, " ".join(result.stdout.split())


def test_every_module_keeps_the_contracts(copy: Path) -> None:
    code, printed = lint(copy)
    assert code == 0, printed


@pytest.mark.parametrize(("module", "imported", "contract"), FORBIDDEN)
def test_an_import_across_rooms_breaks_a_contract(copy: Path, module: str, imported: str, contract: str) -> None:
    with (copy / module).open("a") as file:
        file.write(f"\nimport {imported}\n")
    code, printed = lint(copy)
    assert code == 1
    assert f"{module.removesuffix('.py').replace('/', '.')} -> {imported}" in printed
    assert any(contract in broken.rpartition("KEPT")[2] for broken in printed.split("BROKEN")[:-1])


def test_a_module_that_no_list_of_layers_names_breaks_a_contract(copy: Path) -> None:
    (copy / "functions" / "graphql" / "unplaced.py").write_text('"""A new module."""\n')
    code, printed = lint(copy)
    assert code == 1
    assert "unplaced" in printed


def test_names_of_tests_have_at_most_79_characters() -> None:
    names = [
        name
        for path in (checkout.ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    ]
    assert not [name for name in names if len(name) > 79]
    assert len(names) > 500
