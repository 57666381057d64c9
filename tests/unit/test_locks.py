"""The lock files in requirements/."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.checkout import ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PROJECT = "ai-usage-events"
MACHINES = [
    {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"},
    {"sys_platform": "linux", "platform_machine": "aarch64", "platform_system": "Linux"},
    {"sys_platform": "darwin", "platform_machine": "arm64", "platform_system": "Darwin"},
]


def lock(extra: str) -> Path:
    return ROOT / "requirements" / f"{extra}.txt"


def pins(extra: str) -> dict[str, Requirement]:
    """Returns the locked requirements of an extra, by name."""
    lines = re.findall(r"^[a-z0-9_.-]+==.*", lock(extra).read_text(), re.MULTILINE)
    requirements = [Requirement(line.rstrip(" \\")) for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_lock_names_no_package_index(extra: str) -> None:
    assert "://" not in lock(extra).read_text()


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_lock_has_hashes_of_each_of_its_packages(extra: str) -> None:
    entries = re.split(r"^(?=[a-z0-9_.-]+==)", lock(extra).read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(extra))
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: "-".join(machine.values()))
@pytest.mark.parametrize("extra", EXTRAS)
def test_a_lock_has_what_its_extra_asks_for_on_each_machine(extra: str, machine: dict[str, str]) -> None:
    locked = pins(extra)
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.name != PROJECT:
            pin = locked[canonicalize_name(requirement.name)]
            assert pin.marker is None or pin.marker.evaluate(machine)
            assert all(requirement.specifier.contains(version.version) for version in pin.specifier)


@pytest.mark.parametrize("extra", EXTRAS)
def test_functions_run_with_the_versions_that_are_tested(extra: str) -> None:
    tested = pins("dev")
    assert {name: pin.specifier for name, pin in pins(extra).items()}.items() <= {
        name: pin.specifier for name, pin in tested.items()
    }.items()
