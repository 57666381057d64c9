"""The moment that tests take for the present, so that it does not matter whether a day or a month ends meanwhile."""

from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace

import pytest

NOW = datetime.now(UTC)


def stop(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes it `NOW` for the module, whenever it asks."""
    monkeypatch.setattr(module, "datetime", SimpleNamespace(now=NOW.astimezone))
