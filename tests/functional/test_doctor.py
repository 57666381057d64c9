"""What `usage-events doctor` finds wrong, each time because a test made it wrong."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import jwt
import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner

from functions.shared.partitions import partition_name, wanted_months
from infra import doctor as examination
from infra.cli import app
from infra.doctor import account, canary, clickhouse, network, postgres
from infra.doctor.finding import Finding, Outcome, Page
from infra.doctor.system import System, read_system
from infra.local import ports
from tests.support.checkout import ROOT
from tests.support.clock import NOW
from tests.support.consuming import Queues
from tests.support.database_roles import Roles, database_roles
from tests.support.refilling import another_database, bring
from tests.support.stack_in_process import serving
from tests.support.tls_front import Authority, tls_front
from tests.support.ways_in import SECRET

Problems = list[tuple[str, Outcome, str]]


@pytest.fixture
def roles(postgres_server: str) -> Iterator[Roles]:
    with database_roles(postgres_server) as roles:
        yield roles


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leaves no setting of this machine's, and no local stack, to the commands."""
    for name in list(os.environ):
        if name.startswith(("DATABASE_", "CLICKHOUSE_", "AUTH_", "AWS_", "CANARY_", "QUEUE_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def problems(found: Iterator[Finding]) -> Problems:
    """Returns what is not ok, and checks that each problem comes with advice."""
    wrong = [finding for finding in found if finding.outcome != Outcome.OK]
    assert all(finding.remedy and finding.page for finding in wrong)
    return [(finding.check, finding.outcome, finding.found) for finding in wrong]


def of(roles: Roles) -> System:
    return System(owner=roles.owner, writer=roles.writer, reader=roles.reader)


def only(found: Problems) -> tuple[str, Outcome, str]:
    """Returns the one problem."""
    assert len(found) == 1, found
    return found[0]


def as_owner(roles: Roles, statement: str) -> None:
    names = {kind: sql.Identifier(str(urlsplit(getattr(roles, kind)).username)) for kind in ("writer", "reader")}
    with psycopg.connect(roles.owner, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(**names))


def test_roles_that_a_deployment_makes_have_all_they_need_and_no_more(roles: Roles) -> None:
    roles.migrate()
    assert problems(postgres.check_postgres(of(roles))) == []


NEXT = partition_name(wanted_months(NOW.date(), 0)[1])


@pytest.mark.parametrize(
    ("statement", "check", "outcome", "found"),
    [
        ("REVOKE INSERT ON users FROM {writer}", "writer: privileges", "failed", "lacks INSERT users"),
        ("REVOKE SELECT ON event_types FROM {reader}", "reader: privileges", "failed", "lacks SELECT event_types"),
        (
            "REVOKE EXECUTE ON FUNCTION make_event_partition FROM {writer}",
            "writer: privileges",
            "failed",
            "lacks EXECUTE make_event_partition",
        ),
        (
            "GRANT UPDATE ON users TO {reader}",
            "reader: privileges",
            "warning",
            "may more than it needs: UPDATE users",
        ),
        (
            "GRANT TRUNCATE ON users TO {writer}",
            "writer: privileges",
            "warning",
            "may more than it needs: TRUNCATE users",
        ),
        (
            "GRANT CREATE ON SCHEMA public TO {writer}",
            "writer: privileges",
            "warning",
            "may more than it needs: CREATE in the schema",
        ),
        (
            "GRANT SELECT ON erasures TO {reader}",
            "reader: privileges",
            "warning",
            "may more than it needs: SELECT erasures",
        ),
        (
            "ALTER ROLE {reader} IN DATABASE {database} RESET default_transaction_read_only",
            "reader: privileges",
            "warning",
            "its transactions are not read-only by default",
        ),
        ("UPDATE alembic_version SET version_num = '0012'", "migrations", "failed", "at revision 0012;"),
        ("UPDATE alembic_version SET version_num = '9999'", "migrations", "warning", "revision 9999 is of a newer"),
        (
            "INSERT INTO migration_steps (revision, number, name) VALUES ('0013', 9, 'fill a column')",
            "migrations",
            "failed",
            "steps of the migrations that are not finished: 1",
        ),
        (f"DROP TABLE {NEXT}", "partitions", "failed", f"missing: {NEXT}"),
        ("ALTER ROLE {writer} CONNECTION LIMIT 9999", "connections", "failed", "the roles may have 9999 together"),
    ],
)
def test_what_is_wrong_with_a_database_is_found(
    statement: str, check: str, outcome: str, found: str, roles: Roles
) -> None:
    roles.migrate()
    as_owner(roles, statement.replace("{database}", roles.owner.rpartition("/")[2]))
    name, how, what = only(problems(postgres.check_postgres(of(roles))))
    assert (name.endswith(check), how) == (True, outcome)
    assert what.startswith(found)


def test_a_database_before_its_first_deployment_is_told_from_a_broken_one(roles: Roles) -> None:
    found = problems(postgres.check_postgres(System(owner=roles.owner)))
    assert found == [("PostgreSQL: migrations", Outcome.FAILED, "the database has no tables yet")]


@pytest.mark.parametrize(
    ("change", "outcome", "found"),
    [
        ("ALTER ROLE {owner} SUPERUSER", "warning", "is a superuser, which it need not be"),
        ("ALTER ROLE {owner} NOCREATEROLE", "warning", "may not make the roles of functions"),
        ("REVOKE pg_read_all_stats FROM {owner} CASCADE", "warning", "can't see since when other roles'"),
        ("ALTER SCHEMA public OWNER TO postgres", "failed", "may not create tables in its schema"),
    ],
)
def test_what_an_owner_lacks_is_found(
    change: str, outcome: str, found: str, roles: Roles, administration: psycopg.Connection
) -> None:
    roles.migrate()
    server = administration.info
    owner = sql.Identifier(str(urlsplit(roles.owner).username))
    address = f"host={server.host} port={server.port} user={server.user} password={server.password}"
    with psycopg.connect(f"{address} dbname={roles.owner.rpartition('/')[2]}", autocommit=True) as connection:
        statement = change.replace("TO postgres", f"TO {server.user}")
        connection.execute(sql.SQL(statement).format(owner=owner))
    wrong = [one for one in problems(postgres.check_postgres(of(roles))) if one[0] == "PostgreSQL, owner: privileges"]
    assert only(wrong)[1] == outcome
    assert only(wrong)[2].startswith(found)


def test_the_login_of_another_role_is_not_taken_for_the_owners(roles: Roles) -> None:
    roles.migrate()
    found = problems(postgres.check_postgres(System(owner=roles.writer)))
    assert [(check, outcome) for check, outcome, _ in found] == [("PostgreSQL, owner: privileges", Outcome.FAILED)] * 2
    assert [text.partition(" ai_usage")[0] for _, _, text in found] == [
        "may not create tables in its schema, as the migrations do",
        "does not own",
    ]


def test_a_wrong_password_is_the_login_that_failed(roles: Roles) -> None:
    roles.migrate()
    system = of(roles)
    system.writer = roles.writer.replace(":secret@", ":wrong@")
    check, outcome, found = only(problems(postgres.check_postgres(system)))
    assert (check, outcome) == ("PostgreSQL, writer: login", Outcome.FAILED)
    assert "password authentication failed" in found
    assert "wrong" not in found


def test_a_certificate_of_a_stranger_fails_and_one_unverified_warns(tmp_path: Path, database_url: str) -> None:
    ours, strangers = (Authority.made_in(tmp_path, name) for name in ("ours", "strangers"))
    with tls_front(database_url, ours.server(tmp_path, "127.0.0.1")) as url:
        verified = f"{url}?sslmode=verify-full&sslrootcert="
        assert only(problems(postgres.check_postgres(System(owner=f"{verified}{strangers.certificate}"))))[:2] == (
            "PostgreSQL, owner: TLS",
            Outcome.FAILED,
        )
        found = list(postgres.check_postgres(System(owner=f"{verified}{ours.certificate}")))
        assert Finding("PostgreSQL, owner: TLS", Outcome.OK, "encrypted, and the server's certificate is verified") in (
            found
        )
        checks = problems(postgres.check_postgres(System(owner=f"{url}?sslmode=require")))
        assert ("PostgreSQL, owner: TLS", Outcome.WARNING) in [check[:2] for check in checks]


def test_a_forwarded_port_without_tls_does_not_lead_to_this_machine(database_url: str) -> None:
    elsewhere = database_url.replace("@127.0.0.1:", "@db.invalid:")
    found = list(postgres.check_postgres(System(owner=f"{elsewhere}?hostaddr=127.0.0.1&sslmode=disable")))
    (tls,) = [finding for finding in found if finding.check == "PostgreSQL, owner: TLS"]
    assert (tls.outcome, tls.found) == (Outcome.WARNING, "not encrypted")


def test_servers_that_do_not_answer_are_named() -> None:
    port = ports.free()
    system = System(
        owner=f"postgresql://one:secret@127.0.0.1:{port}/events",
        clickhouse="clickhouse://one:secret@no-such-host.invalid/events",
    )
    found = {check: text for check, outcome, text in problems(network.check_network(system)) if outcome == "failed"}
    assert found == {
        "Network: PostgreSQL": f"127.0.0.1:{port} can't be reached: Connection refused",
        "Network: ClickHouse": "no-such-host.invalid has no address",
    }


def test_clickhouse_is_well_and_lacks_what_only_a_cluster_needs(
    clickhouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = System(clickhouse=clickhouse_url)
    assert problems(clickhouse.check_clickhouse(system)) == []
    monkeypatch.setenv("CLICKHOUSE_CLUSTER", "main")
    assert only(problems(clickhouse.check_clickhouse(system))) == (
        "ClickHouse: privileges",
        Outcome.FAILED,
        "lacks SYSTEM SYNC REPLICA",
    )


def test_a_copy_of_the_directory_is_missing_kept_or_that_of_another_postgresql(
    database_url: str, clickhouse_url: str
) -> None:
    def found(owner: str) -> Outcome:
        *_, finding = clickhouse.check_clickhouse(System(owner=owner, clickhouse=clickhouse_url))
        assert finding.check == "ClickHouse: copy of the directory"
        return finding.outcome

    assert found(database_url) == Outcome.WARNING
    bring(database_url, clickhouse_url)
    assert found(database_url) == Outcome.OK
    with another_database(database_url) as other:
        assert found(other) == Outcome.FAILED


def test_a_wrong_password_or_a_stopped_server_of_clickhouse_fails(clickhouse_url: str) -> None:
    parts = urlsplit(clickhouse_url)
    wrong = parts._replace(netloc=f"default:wrong@{parts.hostname}:{parts.port}").geturl()
    away = parts._replace(netloc=f"default:wrong@{parts.hostname}:{ports.free()}").geturl()
    for url in (wrong, away):
        check, outcome, _ = only(problems(clickhouse.check_clickhouse(System(clickhouse=url))))
        assert (check, outcome) == ("ClickHouse: login", Outcome.FAILED)


def test_versions_that_are_too_old_fail(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "MIN_VERSION", 99)
    found = problems(postgres.check_postgres(System(owner=database_url)))
    assert ("PostgreSQL: version", Outcome.FAILED) in [check[:2] for check in found]
    assert clickhouse._check_version("25.7.1.1").outcome == Outcome.FAILED
    assert clickhouse._check_version("26.1.1.1").outcome == Outcome.OK


def test_settings_and_secrets_that_can_not_be_read_are_named(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "DATABASE_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:none",
        "DATABASE_WRITER_URL": "mysql://127.0.0.1/events",
        "CLICKHOUSE_URL": "ftp://127.0.0.1",
        "AUTH_SECRET": "short",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    system = read_system(dict(os.environ))
    failures = {check: found for check, outcome, found in problems(iter(system.findings)) if outcome == "failed"}
    assert failures.keys() == {"Settings: database", "Settings: writer", "Settings: ClickHouse", "Settings: tokens"}
    assert "that DATABASE_SECRET_ARN names can't be read" in failures["Settings: database"]
    assert "at least 32 bytes" in failures["Settings: tokens"]
    assert system.is_on_aws


def test_a_queue_and_a_list_of_revoked_tokens_are_read(
    queues: Queues, administration: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="revoked", SecretString="{}")["ARN"]
    monkeypatch.setenv("AUTH_REVOCATIONS_ARN", arn)

    def found(url: str) -> Problems:
        made = problems(account.check_account(System(queue=url, is_on_aws=True)))
        return [one for one in made if one[0] != "AWS: executions of functions"]

    assert found(queues.url) == []
    queues.send("{}", "{}")
    queues.records()
    queues.send("{}")
    (told, *_) = account.check_account(System(queue=queues.url, is_on_aws=True))
    assert told.found == "1 messages wait, 2 are in flight or delayed"
    assert only(found(queues.dead_letter_url))[1:] == (Outcome.FAILED, "has no dead-letter queue")
    assert only(found(f"{queues.url}-other"))[:2] == ("AWS: queue", Outcome.FAILED)
    boto3.client("secretsmanager").put_secret_value(SecretId=arn, SecretString="no list")
    assert only(found(queues.url))[:2] == ("AWS: revoked tokens", Outcome.FAILED)


DAY_SECONDS = 24 * 60 * 60


def canary_token(days: float = 90, secret: str = SECRET, **claims: Any) -> str:
    standard = {"sub": "canary", "scope": "canary", "namespaces": [], "exp": time.time() + days * DAY_SECONDS}
    return jwt.encode(standard | claims, secret, algorithm="HS256")


@pytest.mark.parametrize(
    ("held", "outcome", "found"),
    [
        (None, "ok", "signed for each request"),
        (canary_token(), "ok", "valid for another 90 days"),
        (canary_token(5), "warning", "expires in 5 days"),
        (canary_token(-1), "failed", "the API refuses it: The token has expired."),
        (canary_token(secret="another secret of at least 32 bytes"), "failed", "the API refuses it: The token is not"),
        (canary_token(scope="events:write"), "failed", "has the scopes 'events:write', not canary alone"),
        (canary_token(scope="canary events:read"), "failed", "has the scopes 'canary events:read', not canary alone"),
        ("no token", "failed", "the API refuses it: The token is not valid."),
        ('{"token_url": 1}', "failed", "can't be fetched from the issuer: the secret that CANARY_TOKEN_SECRET_ARN"),
        (
            '{"token_url": "issuer.example/token", "client_id": "one", "client_secret": "two"}',
            "failed",
            "can't be fetched from the issuer: the secret that CANARY_TOKEN_SECRET_ARN",
        ),
        (
            '{"token_url": "file:///etc/hostname", "client_id": "one", "client_secret": "two"}',
            "failed",
            "can't be fetched from the issuer: the secret that CANARY_TOKEN_SECRET_ARN",
        ),
        (
            '{"token_url": "http://127.0.0.1:1/", "client_id": "one", "client_secret": "two"}',
            "failed",
            "can't be fetched from the issuer: URLError: ",
        ),
    ],
    ids=[
        "signed",
        "good",
        "expires soon",
        "expired",
        "foreign",
        "other scope",
        "two scopes",
        "text",
        "broken",
        "no URL",
        "file",
        "away",
    ],
)
def test_the_token_of_the_canary_is_checked_as_the_api_does(
    held: str | None, outcome: str, found: str, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH_SECRET", SECRET)
    if held is not None:
        arn = boto3.client("secretsmanager").create_secret(Name="canary", SecretString=held)["ARN"]
        monkeypatch.setenv("CANARY_TOKEN_SECRET_ARN", arn)
    (finding,) = canary.check_canary(System())
    assert (finding.check, finding.outcome) == ("Canary: token", outcome)
    assert finding.found.startswith(found)


def test_a_token_of_the_canary_that_the_issuer_fetches_is_checked(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_SECRET", SECRET)

    def issue(*_: object) -> dict[str, Any]:
        return {"statusCode": 200, "headers": {}, "body": json.dumps({"access_token": canary_token(0.01)})}

    with serving({"/token": issue}) as url:
        held = json.dumps({"token_url": f"{url}/token", "client_id": "one", "client_secret": "two"})
        arn = boto3.client("secretsmanager").create_secret(Name="canary", SecretString=held)["ARN"]
        monkeypatch.setenv("CANARY_TOKEN_SECRET_ARN", arn)
        assert list(canary.check_canary(System())) == [
            Finding("Canary: token", Outcome.OK, "fetched from the issuer for each canary")
        ]


def test_a_canary_without_a_token_or_without_its_secret_is_told(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(problems(canary.check_canary(System())))[:2] == ("Canary: token", Outcome.WARNING)
    monkeypatch.setenv("CANARY_TOKEN_SECRET_ARN", "arn:aws:secretsmanager:us-east-1:123456789012:secret:none")
    _, outcome, found = only(problems(canary.check_canary(System())))
    assert outcome == Outcome.FAILED
    assert found.startswith("the secret that CANARY_TOKEN_SECRET_ARN names can't be read")


@pytest.mark.parametrize(
    ("age", "outcome", "found"),
    [
        ("3 seconds", "ok", "the newest is 3 s old"),
        ("1 hour", "warning", "none in PostgreSQL for 60 minutes"),
        ("2 days", "warning", "none in PostgreSQL for a day"),
    ],
)
def test_canaries_that_do_not_come_are_noticed(
    age: str, outcome: str, found: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH_SECRET", SECRET)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload) VALUES"
            " (gen_random_uuid(), now() - %s::interval, 0, 0, '0/', '{}'),"
            " (gen_random_uuid(), now(), 6, 1, NULL, '{}')",
            [age],
        )
    _, finding = canary.check_canary(System(owner=database_url))
    assert (finding.check, finding.outcome) == ("Canary: events", outcome)
    assert finding.found.startswith(found)


@pytest.mark.parametrize("is_broken", [False, True])
def test_the_exit_code_says_whether_a_check_failed(
    is_broken: bool, roles: Roles, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles.migrate()
    monkeypatch.setenv("DATABASE_URL", roles.owner)
    monkeypatch.setenv(
        "DATABASE_WRITER_URL", roles.writer.replace(":secret@", ":wrong@") if is_broken else roles.writer
    )
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == int(is_broken), result.output
    lines = result.output.splitlines()
    assert lines[-1].endswith("1 failed" if is_broken else "0 failed")
    assert any(line.startswith("warning Settings: reader: not set") for line in lines)
    assert any(line.strip() == f"See {Page.ROLES}." for line in lines)


def test_every_page_and_heading_that_advice_names_is_there(slugs: Callable[[str], set[str]]) -> None:
    for page in Page:
        path, _, heading = page.partition("#")
        assert not heading or heading in slugs((ROOT / path).read_text()), page
        assert (ROOT / path).is_file()


@pytest.fixture
def slugs() -> Callable[[str], set[str]]:
    """Returns a function that returns the anchors of a page's headings."""

    def slugs(text: str) -> set[str]:
        titles = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
        kept = ["".join(one for one in title.lower() if one.isalnum() or one in " -") for title in titles]
        return {one.replace(" ", "-") for one in kept}

    return slugs


def test_examining_nothing_says_what_is_missing() -> None:
    found = list(examination.examine({}))
    assert [one.check for one in found if one.outcome == Outcome.FAILED] == ["Settings: database"]
