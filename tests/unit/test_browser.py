"""Which browser the tests of the pages and the demo run, and what they say where there is none."""

from pathlib import Path

import pytest

from infra.local import browser

MACHINES = [("Darwin", "arm64", "Google Chrome"), ("Linux", "aarch64", "/usr/bin/chromium")]


@pytest.mark.parametrize(("system", "machine", "usual"), MACHINES)
def test_a_machine_without_a_packaged_browser_says_how_to_name_ones_own(
    system: str, machine: str, usual: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setenv("CHROMIUM", "")  # as good as unset
    missing = browser.what_is_missing() or ""
    assert missing.startswith(f"No Chromium is packaged for {system} {machine}.")
    assert "set CHROMIUM" in missing
    assert usual in missing
    assert browser.installed() is None
    own = tmp_path / "chromium"
    own.touch(0o755)
    monkeypatch.setenv("CHROMIUM", str(own))
    assert browser.what_is_missing() is None
    assert browser.installed() is not None


def test_a_name_of_no_program_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "none"))
    assert browser.what_is_missing() == f"CHROMIUM names {tmp_path / 'none'}, which is no program that can be run."
    assert browser.installed() is None
