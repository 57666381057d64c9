import json
import re
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from functions.shared import settings
from tests.documentation import DOCS
from tests.environment import SETTINGS

LONG = "x" * 32
ISSUER = {"AUTH_JWKS_URL": "https://keys", "AUTH_ISSUER": "issuer", "AUTH_AUDIENCE": "events"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.mark.parametrize(
    ("read", "environment", "named"),
    [
        (settings.database_url, {}, "DATABASE_URL or DATABASE_SECRET_ARN"),
        (settings.database_url, {"DATABASE_URL": "mysql://x"}, "DATABASE_URL"),
        (settings.queue_url, {}, "QUEUE_URL"),
        (settings.queue_url, {"QUEUE_URL": " "}, "QUEUE_URL"),
        (settings.auth, {}, "AUTH_SECRET"),
        (settings.auth, {"AUTH_SECRET": "s", "AUTH_JWKS_URL": "https://keys"}, "exactly one"),
        (settings.auth, {"AUTH_JWKS_URL": "https://keys", "AUTH_ISSUER": "i"}, "AUTH_AUDIENCE"),
        (settings.auth, {"AUTH_SECRET": "x" * 31}, "AUTH_SECRET .* 32 bytes"),
        (settings.auth, {"AUTH_SECRET": "x" * 31 + " "}, "AUTH_SECRET .* 32 bytes"),
        (settings.auth_secret, {"AUTH_SECRET": "x" * 31}, "AUTH_SECRET .* 32 bytes"),
        (settings.auth, {"AUTH_SECRET": LONG, "AUTH_SECRET_PREVIOUS": "x" * 31}, "AUTH_SECRET_PREVIOUS .* 32 bytes"),
        (settings.auth, ISSUER | {"AUTH_SECRET_PREVIOUS": LONG}, "AUTH_SECRET_PREVIOUS"),
        (settings.auth, ISSUER | {"AUTH_JWKS_URL": "file:///keys"}, "AUTH_JWKS_URL"),
        (settings.auth, {"AUTH_SECRET": LONG, "AUTH_MAX_LIFETIME": "1h"}, "AUTH_MAX_LIFETIME"),
        (settings.auth, {"AUTH_SECRET": LONG, "AUTH_MAX_LIFETIME": "0"}, "AUTH_MAX_LIFETIME"),
        (settings.auth, {"AUTH_SECRET": LONG, "AUTH_CLIENT_ID_AS_AUDIENCE": "on"}, "AUTH_AUDIENCE"),
        (settings.auth, ISSUER | {"AUTH_CLIENT_ID_AS_AUDIENCE": "yes"}, "AUTH_CLIENT_ID_AS_AUDIENCE"),
        (settings.retention_months, {"RETENTION_MONTHS": "three"}, "RETENTION_MONTHS"),
        (settings.retention_months, {"RETENTION_MONTHS": "0"}, "RETENTION_MONTHS"),
        (settings.graphql_introspection, {"GRAPHQL_INTROSPECTION": "no"}, "GRAPHQL_INTROSPECTION"),
        (settings.log_level, {"LOG_LEVEL": "LOUD"}, "LOG_LEVEL"),
        (settings.clickhouse_url, {"CLICKHOUSE_URL": "localhost:8123"}, "CLICKHOUSE_URL"),
        (settings.clickhouse_durable_inserts, {"CLICKHOUSE_DURABLE_INSERTS": "yes"}, "CLICKHOUSE_DURABLE_INSERTS"),
        (settings.clickhouse_retention_months, {"CLICKHOUSE_RETENTION_MONTHS": "soon"}, "CLICKHOUSE_RETENTION_MONTHS"),
        (settings.clickhouse_retention_months, {"CLICKHOUSE_RETENTION_MONTHS": "2"}, "RETENTION_MONTHS"),
        (settings.sync_follow_seconds, {"SYNC_FOLLOW_SECONDS": "-1"}, "SYNC_FOLLOW_SECONDS"),
    ],
)
def test_a_missing_or_malformed_setting_is_named(
    read: object, environment: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert callable(read)
    with pytest.raises(settings.SettingError, match=named):
        read()


def test_clickhouse_is_off_and_keeps_everything_unless_something_else_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLICKHOUSE_URL", "CLICKHOUSE_CLUSTER", "CLICKHOUSE_RETENTION_MONTHS", "CLICKHOUSE_DURABLE_INSERTS"):
        monkeypatch.setenv(name, "")
    assert settings.clickhouse_url() is None
    assert settings.clickhouse_cluster() is None
    assert settings.clickhouse_retention_months() is None
    assert settings.sync_follow_seconds() == 0
    assert settings.clickhouse_durable_inserts() is True


@pytest.mark.parametrize(("switch", "introspection"), [("", True), ("on", True), ("off", False)])
def test_introspection_is_on_unless_it_is_turned_off(
    switch: str, introspection: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHQL_INTROSPECTION", switch)
    assert settings.graphql_introspection() is introspection


@mock_aws
@pytest.mark.parametrize(
    ("secret", "url"),
    [
        ("postgresql://a:b@c:5432/d", "postgresql://a:b@c:5432/d"),
        (
            json.dumps({"username": "us er", "password": "p@ss/", "host": "db", "port": 5433, "dbname": "events"}),
            "postgresql://us%20er:p%40ss%2F@db:5433/events",
        ),
    ],
)
def test_the_database_comes_from_a_secret_as_a_url_or_as_rds_keeps_it(
    secret: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="database", SecretString=secret)["ARN"]
    monkeypatch.setenv("DATABASE_SECRET_ARN", arn)
    assert settings.database_url() == url


@mock_aws
def test_the_secret_that_is_being_replaced_is_read_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="previous", SecretString=f"{LONG}\n")["ARN"]
    monkeypatch.setenv("AUTH_SECRET", LONG[::-1])
    monkeypatch.setenv("AUTH_SECRET_PREVIOUS_ARN", arn)
    assert settings.auth().previous_secret == LONG


@mock_aws
def test_a_secret_that_can_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_SECRET_ARN", "arn:aws:secretsmanager:us-east-1:123456789012:secret:none")
    with pytest.raises(settings.SettingError, match="AUTH_SECRET_ARN"):
        settings.auth()


def test_the_reference_names_every_setting() -> None:
    read = set(re.findall(r'"([A-Z]+_[A-Z_]+)"', Path(settings.__file__).read_text()))
    written = (DOCS / "reference" / "settings.md").read_text().partition("## Which function")[0]
    assert set(SETTINGS) == read
    assert {name for name in read if f"`{name}`" not in written} == set()
