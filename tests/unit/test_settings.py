import json
import re
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
from cryptography import x509
from moto import mock_aws
from psycopg.conninfo import conninfo_to_dict

from functions.shared import database_url, settings
from functions.shared.signing_secrets import SigningSecrets
from tests.support.documentation import DOCS
from tests.support.environment import SETTINGS

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
        (settings.database_url, {"DATABASE_URL": "postgresql://a:b@c"}, "DATABASE_URL .* name of the database"),
        (settings.database_url, {"DATABASE_URL": "postgresql://a:b@c/d", "DATABASE_SSLMODE": "on"}, "DATABASE_SSLMODE"),
        (
            settings.database_url,
            {"DATABASE_URL": "postgresql://a:b@c/d", "DATABASE_CA": "/none"},
            "DATABASE_CA .* file",
        ),
        (settings.database_url, {"DATABASE_URL": "postgresql://a:b@c/d", "DATABASE_CA": "-----BEGIN"}, "DATABASE_CA"),
        (settings.queue_url, {}, "QUEUE_URL"),
        (settings.queue_url, {"QUEUE_URL": " "}, "QUEUE_URL"),
        (settings.auth, {}, "AUTH_SECRET"),
        (settings.auth, {"AUTH_SECRET": "s", "AUTH_JWKS_URL": "https://keys"}, "exactly one"),
        (settings.auth, {"AUTH_JWKS_URL": "https://keys", "AUTH_ISSUER": "i"}, "AUTH_AUDIENCE"),
        (settings.auth, {"AUTH_SECRET": "x" * 31}, "AUTH_SECRET .* 32 bytes"),
        (settings.auth, {"AUTH_SECRET": "x" * 31 + " "}, "AUTH_SECRET .* 32 bytes"),
        (settings.auth_secret, {"AUTH_SECRET": "x" * 31}, "AUTH_SECRET .* 32 bytes"),
        (settings.auth, {"AUTH_SECRET": json.dumps([LONG, "x" * 31])}, "AUTH_SECRET .* 32 bytes"),
        (settings.auth, {"AUTH_SECRET": json.dumps([LONG] * 3)}, "AUTH_SECRET .* one or two"),
        (settings.auth, {"AUTH_SECRET": f"[{LONG}]"}, "AUTH_SECRET .* no JSON list"),
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


LOGIN = {"username": "us er", "password": "p@ss/"}
WHOLE = LOGIN | {"engine": "postgres", "host": "db", "port": 5433, "dbname": "events"}
ADDRESS = {"DATABASE_HOST": "cluster.rds", "DATABASE_PORT": "5434", "DATABASE_NAME": "usage"}


@mock_aws
@pytest.mark.parametrize(
    ("secret", "given", "url"),
    [
        ("postgresql://a:b@c:5432/d", {}, "postgresql://a:b@c:5432/d"),
        ("postgresql:///d", {}, "postgresql:///d"),
        (json.dumps(WHOLE), {}, "postgresql://us%20er:p%40ss%2F@db:5433/events"),
        (json.dumps(WHOLE | {"port": "5433"}), {}, "postgresql://us%20er:p%40ss%2F@db:5433/events"),
        (json.dumps(WHOLE), ADDRESS, "postgresql://us%20er:p%40ss%2F@cluster.rds:5434/usage"),
        (json.dumps(LOGIN), ADDRESS, "postgresql://us%20er:p%40ss%2F@cluster.rds:5434/usage"),
        (json.dumps(LOGIN), ADDRESS | {"DATABASE_PORT": ""}, "postgresql://us%20er:p%40ss%2F@cluster.rds:5432/usage"),
        (json.dumps(WHOLE | {"host": "fd00::1"}), {}, "postgresql://us%20er:p%40ss%2F@[fd00::1]:5433/events"),
    ],
)
def test_the_database_is_found_by_every_shape_of_its_secret(
    secret: str, given: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="database", SecretString=secret)["ARN"]
    for name, value in (given | {"DATABASE_SECRET_ARN": arn}).items():
        monkeypatch.setenv(name, value)
    assert settings.database_url().partition("?")[0] == url


@mock_aws
@pytest.mark.parametrize(
    ("url", "given", "expected"),
    [
        ("postgresql://a:b%2F@c:5433/d", ADDRESS, ("cluster.rds", "5434", "usage")),
        ("postgresql://a:b%2F@c:5433/d", {"DATABASE_HOST": "proxy.rds"}, ("proxy.rds", "5433", "d")),
        ("postgresql://a:b%2F@c/d", {"DATABASE_HOST": "proxy.rds"}, ("proxy.rds", "5432", "d")),
        ("postgresql://a:b%2F@c:1,d:2/d", {"DATABASE_HOST": "proxy.rds"}, ("proxy.rds", "5432", "d")),
        (
            "postgresql://a:b%2F@c?hostaddr=10.0.0.1&port=7",
            ADDRESS | {"DATABASE_PORT": ""},
            ("cluster.rds", "7", "usage"),
        ),
        ("postgresql:///d?host=c&user=a&password=b%2F", {"DATABASE_NAME": "usage"}, ("c", "5432", "usage")),
        ("postgresql://a:b%2F@c:5433/d", {"DATABASE_NAME": "usage"}, ("c", "5433", "usage")),
        ("postgresql://a:b%2F@c/d?options=-c%20a%3Db+c", {"DATABASE_HOST": "e"}, ("e", "5432", "d")),
    ],
)
def test_a_setting_wins_over_the_address_in_a_secret_with_a_url(
    url: str, given: dict[str, str], expected: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="database", SecretString=url)["ARN"]
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for variable, read in (
        ("DATABASE_SECRET_ARN", settings.database_url),
        ("DATABASE_WRITER_SECRET_ARN", settings.database_writer_url),
    ):
        monkeypatch.setenv(variable, arn)
        known = conninfo_to_dict(str(read()))
        assert (known["host"], str(known.get("port", "5432")), known["dbname"]) == expected
        assert (known["user"], known["password"]) == ("a", "b/")
        assert "hostaddr" not in known
        assert known.get("options") == ("-c a=b+c" if "options" in url else None)


@mock_aws
@pytest.mark.parametrize(
    ("secret", "given", "named"),
    [
        (json.dumps(LOGIN), {}, "DATABASE_HOST"),
        (json.dumps(LOGIN), {"DATABASE_HOST": "db"}, "DATABASE_NAME"),
        (json.dumps(WHOLE | {"dbname": ""}), {}, "DATABASE_NAME"),
        (json.dumps(WHOLE | {"port": "first"}), {}, "DATABASE_PORT"),
        (json.dumps({"username": "a"}), ADDRESS, "neither a URL nor the JSON"),
        ("postgresql://a:b@c", {}, "name of the database"),
        ("postgresql://a:b@c", {"DATABASE_HOST": "db"}, "name of the database"),
        ("postgresql://a:b@c/d", {"DATABASE_PORT": "first"}, "DATABASE_PORT"),
    ],
)
def test_a_secret_without_an_address_is_an_error_that_names_what_adds_it(
    secret: str, given: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="database", SecretString=secret)["ARN"]
    for name, value in (given | {"DATABASE_SECRET_ARN": arn}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(settings.SettingError, match=named):
        settings.database_url()


@pytest.mark.parametrize(
    ("url", "given", "expected"),
    [
        ("postgresql://a@db.example/d", {}, {"sslmode": "verify-full", "sslrootcert": "rds_ca.pem"}),
        ("postgresql://a@db.example/d", {"DATABASE_SSLMODE": "require"}, {"sslmode": "require"}),
        ("postgresql://a@db.example/d", {"DATABASE_SSLMODE": "disable"}, {"sslmode": "disable"}),
        ("postgresql://a@db.example/d?sslmode=require", {}, {"sslmode": "require"}),
        ("postgresql://a@db.example/d?sslmode=verify-ca", {}, {"sslmode": "verify-ca", "sslrootcert": "rds_ca.pem"}),
        ("postgresql://a@db.example/d?sslrootcert=mine", {}, {"sslmode": "verify-full", "sslrootcert": "mine"}),
        ("postgresql://a@127.0.0.1,db.example/d", {}, {"sslmode": "verify-full", "sslrootcert": "rds_ca.pem"}),
        ("postgresql://a@127.0.0.1:5432/d?hostaddr=10.0.0.1", {}, {"sslmode": "verify-full"}),
        ("postgresql://a@db.example/d?hostaddr=127.0.0.1", {}, {"sslmode": "verify-full"}),
        ("postgresql://a@db.example/d", {"PGHOSTADDR": "127.0.0.1"}, {"sslmode": "verify-full"}),
        ("postgresql://a@localhost/d", {"PGHOSTADDR": "10.0.0.1"}, {"sslmode": "verify-full"}),
        ("postgresql:///d", {"PGHOST": "db.example"}, {"sslmode": "verify-full"}),
        ("postgresql://a@localhost/d", {"PGHOST": "db.example"}, {}),
        ("postgresql:///d?host=db.example", {}, {"sslmode": "verify-full"}),
        ("postgresql:///d", {}, {}),
        ("postgresql://a@127.0.0.1:5432/d", {}, {}),
        ("postgresql://a@[::1]:5432/d", {}, {}),
        ("postgresql://a@localhost/d?connect_timeout=3", {}, {}),
        ("postgresql:///d?host=/run/postgresql", {}, {}),
        ("postgresql://a@localhost/d", {"DATABASE_SSLMODE": "verify-full"}, {"sslmode": "verify-full"}),
    ],
)
def test_a_server_elsewhere_is_verified_unless_a_setting_says_otherwise(
    url: str, given: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (given | {"DATABASE_URL": url}).items():
        monkeypatch.setenv(name, value)
    known = conninfo_to_dict(settings.database_url())
    assert {name: Path(str(known[name])).name for name in expected} == expected
    assert ("sslmode" in known) is bool(expected)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # of one of RDS's roots
def test_the_certificates_of_rds_are_roots_that_are_valid_for_years() -> None:
    roots = x509.load_pem_x509_certificates(database_url._RDS_BUNDLE.read_bytes())
    for root in roots:
        root.verify_directly_issued_by(root)
        assert root.not_valid_after_utc > datetime(2031, 1, 1, tzinfo=UTC)
    names = {str(root.subject.rfc4514_string()) for root in roots}
    for region in ("us-east-1", "eu-west-1", "ap-northeast-1"):
        assert sum(region in name for name in names) >= 3


@mock_aws
def test_a_signing_secret_may_be_a_list_of_the_new_and_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps([LONG, LONG[::-1] + "y"])
    arn = boto3.client("secretsmanager").create_secret(Name="signing", SecretString=text)["ARN"]
    monkeypatch.setenv("AUTH_SECRET_ARN", arn)
    assert settings.auth_secret() == LONG
    assert SigningSecrets(settings.auth().secret).current() == (LONG, LONG[::-1] + "y")


@mock_aws
def test_the_secret_that_is_being_replaced_is_read_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="previous", SecretString=f"{LONG}\n")["ARN"]
    monkeypatch.setenv("AUTH_SECRET", LONG[::-1])
    monkeypatch.setenv("AUTH_SECRET_PREVIOUS_ARN", arn)
    found = settings.auth()
    assert SigningSecrets(found.secret, found.previous_secret).current() == (LONG[::-1], LONG)


@mock_aws
def test_a_secret_that_can_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_SECRET_ARN", "arn:aws:secretsmanager:us-east-1:123456789012:secret:none")
    with pytest.raises(settings.SettingError, match="AUTH_SECRET_ARN"):
        settings.auth()


def test_the_reference_names_every_setting() -> None:
    read = set(re.findall(r'"([A-Z]+_[A-Z_]+)"', Path(settings.__file__).read_text()))
    read |= {"STACK_NAME", "TRACING"}  # `metrics` and `tracing` read these without importing the settings
    written = (DOCS / "reference" / "settings.md").read_text().partition("## Which function")[0]
    assert set(SETTINGS) == read
    assert {name for name in read if f"`{name}`" not in written} == set()
