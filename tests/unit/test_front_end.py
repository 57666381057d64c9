"""The build of the pages."""

import os
import shutil
from pathlib import Path

import pytest

from infra import front_end
from tests.support.checkout import ROOT

LOCK = front_end.SOURCE / "package-lock.json"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose build makes a page of its source, without npm."""
    shutil.copytree(ROOT / front_end.SOURCE, tmp_path / front_end.SOURCE, ignore=shutil.ignore_patterns("node_modules"))
    (tmp_path / front_end.SCHEMA).parent.mkdir(parents=True)
    (tmp_path / front_end.SCHEMA).write_text("type Query { one: Int }")

    def npm(arguments: tuple[str, ...], folder: Path) -> int:
        with (tmp_path / "calls").open("a") as calls:
            calls.write(f"{arguments[0]}\n")
        if arguments[0] == "run":
            (folder / "dist" / "dashboard" / "assets").mkdir(parents=True)
            shutil.copy(folder / "index.html", folder / "dist")
        else:
            (folder / "node_modules").mkdir()
        return 0

    monkeypatch.setattr(front_end, "npm", npm)
    return tmp_path


def calls(checkout: Path) -> list[str]:
    return (checkout / "calls").read_text().split()


def test_nothing_is_built_or_installed_again_where_nothing_changed(checkout: Path) -> None:
    first = front_end.built(checkout)
    for name in ("node_modules", "dist"):
        (checkout / front_end.SOURCE / name).mkdir(exist_ok=True)
        (checkout / front_end.SOURCE / name / "made.js").touch()
    os.utime(checkout / front_end.SOURCE / "index.html")
    assert front_end.built(checkout) == first
    assert calls(checkout) == ["ci", "run"]


@pytest.mark.parametrize("file", [front_end.SCHEMA, front_end.SOURCE / "index.html", front_end.SOURCE / "new.ts"])
def test_a_change_of_the_source_or_the_schema_builds_without_installing(checkout: Path, file: Path) -> None:
    first = front_end.built(checkout)
    with (checkout / file).open("a") as changed:
        changed.write("# changed")
    assert front_end.built(checkout) != first
    assert calls(checkout) == ["ci", "run", "run"]


def test_a_change_of_the_lock_installs(checkout: Path) -> None:
    front_end.built(checkout)
    (checkout / LOCK).write_text((checkout / LOCK).read_text() + "\n")
    front_end.built(checkout)
    assert calls(checkout) == ["ci", "run", "ci", "run"]


@pytest.mark.parametrize(("name", "size"), [("font.ttf", 1), ("large.js", front_end.MAX_FILE_BYTES + 1)])
def test_a_file_that_the_function_could_not_answer_with_fails_the_build(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: int
) -> None:
    npm = front_end.npm

    def with_file(arguments: tuple[str, ...], folder: Path) -> int:
        code = npm(arguments, folder)
        if arguments[0] == "run":
            (folder / "dist" / name).write_bytes(b" " * size)
        return code

    monkeypatch.setattr(front_end, "npm", with_file)
    with pytest.raises(front_end.FrontEndError, match=name):
        front_end.built(checkout)
    assert not list((checkout / front_end.CACHE).glob("dashboard-*"))


def test_the_source_passes_its_own_checks_and_tests() -> None:
    front_end.check()


@pytest.mark.parametrize("lock", [LOCK, Path("infra", "local", "browser", "package-lock.json")], ids=str)
def test_a_lock_names_no_registry(lock: Path) -> None:
    text = (ROOT / lock).read_text()
    assert '"integrity"' in text
    assert '"resolved"' not in text
    assert "://registry" not in text


def test_nothing_that_was_built_is_kept_in_the_repository() -> None:
    ignored = (ROOT / front_end.SOURCE / ".gitignore").read_text().split()
    assert {"node_modules/", "dist/", "src/generated/"} <= set(ignored)
