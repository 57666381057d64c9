"""The package that `sam build` makes for each function."""

import marshal
import os
import re
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from cfnlint.decode import cfn_yaml
from packaging.requirements import Requirement

from tests.support import checkout

DEPLOYMENT = {"infra/__init__.py", "infra/deployment.py", "infra/doctor", "infra/migrations"}
# Function, its extra, its handler's module, and what its package holds of the project beside what all packages hold.
FUNCTIONS = (
    ("IngestFunction", "ingest-api", "functions.ingest.api", {"functions/ingest"}),
    ("ConsumerFunction", "ingest-consumer", "functions.ingest.consumer", {"functions/ingest"}),
    ("SyncFunction", "sync", "functions.sync.function", {"functions/sync", "infra/migrations"}),
    ("RetentionFunction", "retention", "functions.retention.function", {"functions/retention"}),
    ("CanaryFunction", "canary", "functions.canary.function", {"functions/canary"}),
    ("GraphqlFunction", "graphql", "functions.graphql.api", {"functions/graphql"}),
    ("MigrationsFunction", "migrations", "infra.deployment", DEPLOYMENT),
)
IN_EVERY_PACKAGE = {"functions/__init__.py", "functions/shared"}
COMPILED = "__pycache__"
MACHINES = {"x86_64": 0x3E, "arm64": 0xB7}
"""Number of each architecture in the header of an ELF file (`e_machine`)."""
UNCHECKED = 0b01  # PEP 552: the source is not looked at
HEADER_BYTES = 16
SETTINGS = {
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "QUEUE_URL": "http://127.0.0.1:1/queue",
    "AUTH_SECRET": "a secret of at least thirty-two bytes",
    "API_URL": "http://127.0.0.1:1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def build(
    function: str, package: Path, folder: Path = checkout.ROOT, packages_for: str = "host"
) -> subprocess.CompletedProcess[str]:
    package.mkdir(exist_ok=True)
    arguments = [f"build-{function}", f"ARTIFACTS_DIR={package}", f"PACKAGES_FOR={packages_for}"]
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def locked(extra: str) -> set[str]:
    """Returns the names of the distributions in an extra's lock file for this machine."""
    lines = (checkout.ROOT / "requirements" / f"{extra}.txt").read_text()
    pinned = [Requirement(line.rstrip(" \\")) for line in re.findall(r"^[a-z0-9_.-]+==.*", lines, re.MULTILINE)]
    return {entry.name.replace("_", "-") for entry in pinned if entry.marker is None or entry.marker.evaluate()}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    for function, *_ in FUNCTIONS:
        result = build(function, folder / function)
        assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize(("function", "extra", "_module", "_own"), FUNCTIONS)
def test_a_package_holds_the_dependencies_of_its_own_extra_alone(
    packages: Path, function: str, extra: str, _module: str, _own: set[str]
) -> None:
    installed = {path.name.partition("-")[0].replace("_", "-") for path in (packages / function).glob("*.dist-info")}
    assert installed == locked(extra)


@pytest.mark.parametrize(("function", "_extra", "_module", "own"), FUNCTIONS)
def test_a_package_holds_the_definitions_and_its_own_code_alone(
    packages: Path, function: str, _extra: str, _module: str, own: set[str]
) -> None:
    package = packages / function
    code = {str(path.relative_to(package)) for folder in ("functions", "infra") for path in package.glob(f"{folder}/*")}
    assert {path for path in code if not path.endswith(COMPILED)} == IN_EVERY_PACKAGE | own
    assert _names(package / "definitions") == _names(checkout.ROOT / "definitions")
    assert not (package / "tests").exists()


def test_the_package_of_the_sync_holds_the_migrations_of_clickhouse_alone(packages: Path) -> None:
    assert _names(packages / "SyncFunction" / "infra" / "migrations") == {"clickhouse"}


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != COMPILED}


@pytest.mark.parametrize(("function", "_extra", "_module", "_own"), FUNCTIONS)
def test_a_packages_code_is_compiled_in_place_and_not_checked_against_source(
    packages: Path, function: str, _extra: str, _module: str, _own: set[str]
) -> None:
    package = packages / function
    modules = [path for folder in ("definitions", "functions", "infra") for path in package.glob(f"{folder}/**/*.py")]
    assert package / "functions" / "__init__.py" in modules
    for module in modules:
        compiled = Path(cache_from_source(str(module))).read_bytes()
        assert int.from_bytes(compiled[4:8], "little") == UNCHECKED
        code = marshal.loads(compiled[HEADER_BYTES:])  # noqa: S302 - it was made here
        assert code.co_filename == str(module.relative_to(package))


@pytest.mark.parametrize(("function", "_extra", "module", "_own"), FUNCTIONS)
def test_a_function_starts_with_nothing_but_its_package(
    packages: Path, function: str, _extra: str, module: str, _own: set[str]
) -> None:
    interpreter = sys._base_executable  # type: ignore[attr-defined]
    program = f"import sys; sys.path.insert(0, {str(packages / function)!r}); from {module} import handler"
    result = subprocess.run(
        [interpreter, "-I", "-S", "-c", program], cwd="/", env=SETTINGS, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_graphql_function_starts_without_parsing_its_schema(packages: Path) -> None:
    statements = """
from unittest.mock import patch
with patch("ariadne.make_executable_schema", None):
    import functions.graphql.api
"""
    environment = SETTINGS | {"PYTHONPATH": str(packages / "GraphqlFunction")}
    command = [sys.executable, "-S", "-P", "-c", statements]
    subprocess.run(command, cwd=packages, env=environment, check=True)


@pytest.mark.parametrize(
    ("architecture", "function"), [("x86_64", "IngestFunction"), *(("arm64", function) for function, *_ in FUNCTIONS)]
)
def test_a_package_for_aws_holds_machine_code_for_the_architecture_of_the_template(
    tmp_path: Path, architecture: str, function: str
) -> None:
    folder = checkout.ROOT / "infra" / "architectures" / architecture
    result = build(function, tmp_path / "package", folder, packages_for="template")
    assert result.returncode == 0, result.stderr
    libraries = list((tmp_path / "package").rglob("*.so*"))
    assert libraries
    assert {library.read_bytes()[:4] for library in libraries} == {b"\x7fELF"}
    assert {int.from_bytes(library.read_bytes()[18:20], "little") for library in libraries} == {MACHINES[architecture]}


def test_each_architecture_that_the_template_allows_has_a_folder_for_sam_build() -> None:
    template = cfn_yaml.load(str(checkout.ROOT / "infra" / "template.yaml"))
    allowed = template["Parameters"]["Architecture"]["AllowedValues"]
    assert allowed == list(MACHINES)
    assert {file.parent.name for file in checkout.ROOT.glob("infra/architectures/*/Makefile")} == set(allowed)
    function = template["Globals"]["Function"]
    assert function["Architectures"] == [{"Ref": "Architecture"}]
    assert function["CodeUri"] == {"Fn::Sub": "architectures/${Architecture}"}


def test_a_package_for_an_unknown_architecture_is_not_made(tmp_path: Path) -> None:
    command = ["make", "build-IngestFunction", f"ARTIFACTS_DIR={tmp_path}", "ARCHITECTURE=riscv64"]
    result = subprocess.run(command, cwd=checkout.ROOT, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "There are no packages for riscv64" in result.stderr


def test_contradicting_definitions_are_not_built_and_both_files_are_named(tmp_path: Path) -> None:
    copy = checkout.copy(tmp_path / "checkout")
    (copy / "definitions" / "imitation.py").write_text(
        "from definitions import Feature\n"
        'feature = Feature("imitation", owner="nobody")\n'
        "feature.events(an_event_with_the_id_of_another=6)\n"
    )
    result = build("IngestFunction", tmp_path / "package", copy)
    assert result.returncode != 0
    assert "imitation.py" in result.stderr
    assert "chat.py" in result.stderr
    assert os.listdir(tmp_path / "package") == []  # noqa: PTH208
