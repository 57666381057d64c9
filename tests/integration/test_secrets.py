"""Settings that a function reads from Secrets Manager."""

import json
from datetime import timedelta
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from localstack_client.session import Session

from functions.ingest.api_handler import IngestHandler, build
from functions.shared import settings
from functions.shared.grant import EVERYTHING, WRITE
from infra.local import deploy
from infra.operations.token import sign
from tests.integration.delivery import LocalStackQueues
from tests.support.lambda_context import FakeContext

SECRET = "a secret of thirty-two characters, at least"


def rds_secret(url: str) -> str:
    """Returns the JSON that RDS stores as the secret of the database at `url`."""
    parts = urlsplit(url)
    return json.dumps(
        {
            "engine": "postgres",
            "host": parts.hostname,
            "port": parts.port,
            "username": unquote(parts.username or ""),
            "password": unquote(parts.password or ""),
            "dbname": parts.path.removeprefix("/"),
        }
    )


@pytest.mark.parametrize("as_rds", [False, True])
def test_the_database_is_found_by_its_secret(
    as_rds: bool, database_url: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = rds_secret(database_url) if as_rds else database_url
    monkeypatch.setenv("DATABASE_SECRET_ARN", deploy.put_secret("test-database", secret, endpoint))
    with psycopg.connect(settings.database_url()) as connection:
        assert connection.info.dbname == urlsplit(database_url).path.removeprefix("/")


def test_a_secret_that_was_changed_is_read_by_the_next_function_that_starts(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("clickhouse://a@one:8123/x", "clickhouse://a@two:8123/x"):
        monkeypatch.setenv("CLICKHOUSE_SECRET_ARN", deploy.put_secret("test-clickhouse", url, endpoint))
        assert settings.clickhouse_url() == url


def test_tokens_are_checked_with_the_secret_that_secrets_manager_keeps(
    queues: LocalStackQueues, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH_SECRET_ARN", deploy.put_secret("test-auth", SECRET, endpoint))
    api = build(auth=settings.auth(), queue_url=queues.url, retention_months=settings.retention_months())
    assert status(api, SECRET) == 202
    assert status(api, SECRET[::-1]) == 401


def status(api: IngestHandler, secret: str) -> int:
    """Returns the status for an event whose token is signed with `secret`."""
    token = sign(secret, "1", [WRITE], [EVERYTHING], timedelta(minutes=5))
    body = json.dumps({"event": "request_duo_chat_response"})
    answer = api({"headers": {"Authorization": f"Bearer {token}"}, "body": body}, FakeContext())
    return int(answer["statusCode"])


def test_a_secret_that_is_gone_is_named_by_its_setting(
    session: Session, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = deploy.put_secret("test-gone", "postgresql://nowhere", endpoint)
    session.client("secretsmanager").delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    monkeypatch.setenv("DATABASE_SECRET_ARN", arn)
    with pytest.raises(settings.SettingError, match="DATABASE_SECRET_ARN"):
        settings.database_url()
