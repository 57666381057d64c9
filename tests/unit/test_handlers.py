"""The handlers as Lambda builds them: once when a function starts, from the environment."""

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode import cfn_yaml

from functions.shared.settings import SettingError
from tests.support.checkout import ROOT
from tests.support.consuming import ACCOUNT

DATABASE = {"DATABASE_URL": "postgresql://one@127.0.0.1:1/events"}
CLICKHOUSE = {"CLICKHOUSE_URL": "clickhouse://one@127.0.0.1:1/events"}
AUTH = {"AUTH_SECRET": "a secret of thirty-two characters, at least"}
ENVIRONMENT = (
    ACCOUNT
    | DATABASE
    | CLICKHOUSE
    | AUTH
    | {
        "API_URL": "https://api",
        "QUEUE_URL": "https://queue",
        "RETENTION_MONTHS": "5",
    }
)
NAMED = "infra.deployment"
"""Answers CloudFormation what is wrong with its settings, and therefore starts with any."""


def handlers() -> dict[str, str]:
    """Returns module and name of each function's handler, by the function's name in the template."""
    resources: Mapping[str, Any] = cfn_yaml.load(str(ROOT / "infra" / "template.yaml"))["Resources"]
    functions = {name: one for name, one in resources.items() if one["Type"] == "AWS::Serverless::Function"}
    return {name: str(one["Properties"]["Handler"]) for name, one in functions.items()}


HANDLERS = handlers()


def started(name: str) -> Any:
    """Returns the handler of a newly started function."""
    module, _, attribute = HANDLERS[name].rpartition(".")
    return runpy.run_module(module)[attribute]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with all settings that a function needs; tests may change it."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize("name", HANDLERS)
def test_a_handler_is_there_once_its_function_has_started(name: str, environment: pytest.MonkeyPatch) -> None:
    assert callable(started(name))


@pytest.mark.parametrize("name", HANDLERS)
def test_a_function_without_a_setting_that_it_needs_does_not_start(name: str, environment: pytest.MonkeyPatch) -> None:
    for setting in (*DATABASE, *AUTH, "QUEUE_URL"):
        environment.delenv(setting)
    if HANDLERS[name].startswith(NAMED):
        assert callable(started(name))
        return
    with pytest.raises(SettingError, match="must be set"):
        started(name)


def test_what_the_environment_says_reaches_the_handlers(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CLICKHOUSE_CLUSTER", "events")
    environment.setenv("CLICKHOUSE_DURABLE_INSERTS", "off")
    environment.setenv("CLICKHOUSE_RETENTION_MONTHS", "24")
    environment.setenv("SYNC_FOLLOW_SECONDS", "40")
    environment.setenv("GRAPHQL_INTROSPECTION", "off")
    sync, retention = started("SyncFunction"), started("RetentionFunction").retention
    assert (sync.follow_seconds, sync.sync.durable, sync.sync.cluster) == (40, False, "events")
    assert (sync.sync.database_url, sync.sync.clickhouse_url) == (*DATABASE.values(), *CLICKHOUSE.values())
    assert (retention.months, retention.clickhouse_months, retention.cluster) == (5, 24, "events")
    assert (retention.database_url, retention.clickhouse_url) == (*DATABASE.values(), *CLICKHOUSE.values())
    assert started("GraphqlFunction").introspection is False
    assert started("ConsumerFunction").consumer.retention_months == 5
    intake = started("IngestFunction").intake
    assert (intake.retention_months, intake.send.args[1]) == (5, "https://queue")


def test_importing_what_builds_a_handler_needs_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in ENVIRONMENT:
        monkeypatch.delenv(setting, raising=False)
    for handler in HANDLERS.values():
        folder = Path(*handler.split(".")[:-2])
        for path in sorted((ROOT / folder).glob("*handler.py")):
            assert "build" in runpy.run_path(str(path))
