"""The tests that the threat model names exist."""

import re
from pathlib import Path

from tests.support.checkout import ROOT

_NAMED = re.compile(r"`(test_\w+\.py)(?:::(test_\w+))?`")


def test_every_test_that_the_threat_model_names_is_there() -> None:
    named = _NAMED.findall((ROOT / "docs/explanation/threat-model.md").read_text())
    files = {file.name: file.read_text() for file in Path(ROOT / "tests").rglob("test_*.py")}
    assert len(named) > 20
    missing = [(file, test) for file, test in named if f"def {test}" not in files.get(file, "")]
    assert missing == []
