import json
import platform
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from copy import replace
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import EndpointConnectionError

from functions.shared import settings
from functions.shared.catalog import registry
from functions.shared.catalog.definition_error import DefinitionError
from functions.shared.catalog.registry import EventType, Registry
from functions.shared.partitions import later_month, partition_name, wanted_months
from infra.migrations.budget import Unfinished
from infra.migrations.handler import MigrationsHandler, build
from infra.migrations.migrate import migrate
from tests.functional.test_package import build as build_package
from tests.support.checkout import ROOT
from tests.support.clock import NOW
from tests.support.lambda_context import FakeContext

REGISTRY = registry.load()
TABLES = {
    "ai_usage_events": "id uuid, timestamp timestamp with time zone, event smallint, user_id bigint, "
    "namespace_path text, payload jsonb, xact_id xid8, project_id bigint",
    "removed_keys": "xact_id xid8, id uuid, timestamp timestamp with time zone, event smallint, "
    "namespace_path text, user_id bigint",
    "users": "id bigint, username text, last_activity_on date",
    "namespaces": "id bigint, path text, full_path text",
    "projects": "id bigint, namespace_path text, full_path text",
    "event_types": "id smallint, name text, feature text, deprecated boolean, release integer, removed_in integer, "
    "only_in_clickhouse boolean",
    "releases": "number integer, digest text, first_deployed_at timestamp with time zone, "
    "last_deployed_at timestamp with time zone",
    "payload_keys": "feature text, path text, type text, required boolean, release integer, removed_in integer",
    "rejected_events": "id uuid, received_at timestamp with time zone, source text, code text, message text, "
    "body text, sender_grant jsonb, attempts integer, replayed_at timestamp with time zone, event_id uuid, "
    "request_id text",
    "claimed_ids": "id uuid",
    "sync_state": "target text, xact_id xid8, id uuid, updated_at timestamp with time zone, "
    "caught_up_at timestamp with time zone, epoch integer, mark bigint, server text",
}


def with_events(*events: EventType) -> Registry:
    """Returns the shipped definitions, with these events in place of those with the same ids."""
    changed = {event.id: event for event in events}
    by_id = {event_id: changed.get(event_id, event) for event_id, event in REGISTRY.by_id.items()}
    return replace(REGISTRY, by_id=by_id, events={event.name: event for event in by_id.values()})


def without_event(event_id: int) -> Registry:
    by_id = {known: event for known, event in REGISTRY.by_id.items() if known != event_id}
    return replace(REGISTRY, by_id=by_id, events={event.name: event for event in by_id.values()})


def store_event(connection: psycopg.Connection, event_id: int) -> None:
    connection.execute(
        "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)"
        " VALUES (gen_random_uuid(), now(), %s, 1, '{}')",
        [event_id],
    )


def test_the_tables_have_the_columns_that_others_rely_on(connection: psycopg.Connection) -> None:
    columns = connection.execute(
        "SELECT table_name, string_agg(column_name || ' ' || data_type, ', ' ORDER BY ordinal_position)"
        " FROM information_schema.columns WHERE table_schema = 'public' GROUP BY table_name"
    ).fetchall()
    assert TABLES.items() <= dict(columns).items()


def test_each_retained_month_and_the_next_three_have_a_partition_with_unique_ids(
    connection: psycopg.Connection,
) -> None:
    this_month = NOW.date().replace(day=1)
    partitions = connection.execute(
        """
        SELECT child.relname, bool_or(indisunique AND indnatts = 1 AND attname = 'id')
        FROM pg_inherits
        JOIN pg_class child ON child.oid = inhrelid
        JOIN pg_index ON indrelid = child.oid
        JOIN pg_attribute ON attrelid = child.oid AND attnum = indkey[0]
        WHERE inhparent = 'ai_usage_events'::regclass
        GROUP BY child.relname
        """
    ).fetchall()
    wanted = {partition_name(later_month(this_month, months)) for months in range(-3, 4)}
    assert dict(partitions) == dict.fromkeys(wanted, True)


@pytest.mark.parametrize(
    ("today", "months", "first", "last"),
    [
        (date(2026, 11, 24), 3, date(2026, 8, 1), date(2027, 2, 1)),
        (date(2026, 1, 31), 3, date(2025, 10, 1), date(2026, 4, 1)),
        (date(2026, 12, 1), 12, date(2025, 12, 1), date(2027, 3, 1)),
    ],
)
def test_the_months_with_partitions_are_those_of_the_calendar(
    today: date, months: int, first: date, last: date
) -> None:
    wanted = wanted_months(today, months)
    assert (wanted[0], wanted[-1], len(wanted)) == (first, last, months + 4)


def test_an_event_is_stored_by_a_plain_insert_up_to_the_borders_of_the_months(connection: psycopg.Connection) -> None:
    first, *_, last = wanted_months(NOW.date(), 3)
    insert = (
        "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)"
        " VALUES (gen_random_uuid(), %s::timestamptz - %s::interval, 1, 1, '{}')"
    )
    connection.execute(insert, [datetime(first.year, first.month, 1, tzinfo=UTC), "0"])
    after_last = later_month(last, 1)
    connection.execute(insert, [datetime(after_last.year, after_last.month, 1, tzinfo=UTC), "1 microsecond"])
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(insert, [datetime(first.year, first.month, 1, tzinfo=UTC), "1 microsecond"])


def test_migrating_again_changes_nothing_and_longer_retention_adds_months(database_url: str) -> None:
    assert migrate(database_url, REGISTRY, 3) == ["recorded 41 event types of release 1"]
    assert len(migrate(database_url, REGISTRY, 5)) == 3


def test_concurrent_deployments_wait_for_each_other(database_url: str) -> None:
    failures: list[BaseException] = []

    def deploy() -> None:
        try:
            migrate(database_url, REGISTRY, 6)
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=deploy) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_the_event_types_are_what_the_definitions_say(connection: psycopg.Connection, database_url: str) -> None:
    rows = connection.execute("SELECT id, name, feature, deprecated FROM event_types ORDER BY id").fetchall()
    assert rows == [
        (event.id, event.name, event.feature.name, event.deprecated) for _, event in sorted(REGISTRY.by_id.items())
    ]
    migrate(database_url, without_event(7), 3)
    assert connection.execute("SELECT count(*) FROM event_types").fetchone() == (40,)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (without_event(7), r"deprecated_events\(troubleshoot_job=7\)"),
        (
            with_events(replace(REGISTRY.by_id[7], name="renamed")),
            "definitions/troubleshoot_job.py names this id renamed",
        ),
    ],
)
def test_definitions_that_contradict_what_is_stored_are_refused(
    changed: Registry, said: str, connection: psycopg.Connection, database_url: str
) -> None:
    store_event(connection, 7)
    with pytest.raises(DefinitionError, match=said):
        migrate(database_url, changed, 3)
    assert connection.execute("SELECT name FROM event_types WHERE id = 7").fetchone() == ("troubleshoot_job",)
    migrate(database_url, with_events(replace(REGISTRY.by_id[7], deprecated=True)), 3)


class CloudFormation(HTTPServer):
    """A server that receives the function's answer to CloudFormation."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.answers: list[dict[str, Any]] = []


class Answers(BaseHTTPRequestHandler):
    server: CloudFormation

    def do_PUT(self) -> None:
        self.server.answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()


@pytest.fixture
def cloudformation() -> Iterator[CloudFormation]:
    server = CloudFormation()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("url", "request_type", "status", "reason"),
    [
        (None, "Create", "SUCCESS", ""),
        (None, "Update", "SUCCESS", ""),
        ("postgresql://127.0.0.1:1/none", "Delete", "SUCCESS", ""),
        ("postgresql://127.0.0.1:1/none", "Create", "FAILED", "refused"),
        ("", "Create", "FAILED", "DATABASE_URL"),
    ],
)
def test_the_deployment_is_told_whether_the_migrations_went_well(
    url: str | None,
    request_type: str,
    status: str,
    reason: str,
    cloudformation: CloudFormation,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url if url is None else url)
    names = {"StackId": "stack", "RequestId": "request", "LogicalResourceId": "Migrations"}
    port = cloudformation.server_address[1]
    event = names | {"RequestType": request_type, "ResponseURL": f"http://127.0.0.1:{port}/answer"}
    built = build(settings.database_url, settings.retention_months)
    replace(built, status=lambda _: "UPDATE_IN_PROGRESS")(event, FakeContext())
    (answer,) = cloudformation.answers
    assert reason in answer.pop("Reason")
    assert answer.pop("Data").keys() == {"Settings"}
    assert answer == names | {"Status": status, "PhysicalResourceId": "migrations"}


REQUEST = {
    "RequestType": "Update",
    "StackId": "stack",
    "RequestId": "request",
    "LogicalResourceId": "Migrations",
    "ResponseURL": "https://answer",
}

# Handles a request with a package, and with the libraries of Python alone.
IN_PACKAGE = """
import json, sys
package, event = sys.argv[1:]
sys.path.insert(0, package)
from infra.deployment import handler
handler(json.loads(event), None)
"""


@pytest.mark.parametrize(
    ("request_type", "status"), [("Create", "FAILED"), ("Update", "FAILED"), ("Delete", "SUCCESS")]
)
def test_a_package_for_other_processors_fails_the_deployment_at_once(
    request_type: str, status: str, cloudformation: CloudFormation, tmp_path: Path
) -> None:
    other = "arm64" if platform.machine() == "x86_64" else "x86_64"
    built = build_package(
        "MigrationsFunction", tmp_path / "package", ROOT / "infra" / "architectures" / other, "template"
    )
    assert built.returncode == 0, built.stderr
    event = REQUEST | {
        "RequestType": request_type,
        "ResponseURL": f"http://127.0.0.1:{cloudformation.server_address[1]}/answer",
    }
    interpreter = sys._base_executable  # type: ignore[attr-defined]
    command = [interpreter, "-I", "-S", "-c", IN_PACKAGE, str(tmp_path / "package"), json.dumps(event)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (answer,) = cloudformation.answers
    assert answer["Status"] == status
    assert "was Architecture given to `sam build`" in answer["Reason"]
    assert (answer["StackId"], answer["RequestId"]) == ("stack", "request")


class Lambda:
    """Invokes the migrations as Lambda does; migrations need a few invocations.

    Args:
        unfinished: invocations that the migrations outlive.
        refuses: whether Lambda's API does not answer.
    """

    def __init__(self, unfinished: int, *, refuses: bool = False) -> None:
        self.now = 1000.0
        self.answers: list[dict[str, Any]] = []
        self.seconds: list[int] = []
        self._unfinished = unfinished
        self._refuses = refuses
        self._requests: list[dict[str, Any]] = []

    def invoke(self, _: str, event: dict[str, Any]) -> None:
        if self._refuses:
            raise EndpointConnectionError(endpoint_url="https://lambda.us-east-1.amazonaws.com")
        self._requests.append(json.loads(json.dumps(event)))

    def migrate(self, seconds: int, _: Callable[[str], None]) -> None:
        self.seconds.append(seconds)
        self.now += seconds
        if len(self.seconds) <= self._unfinished:
            raise Unfinished("the time ended")

    def run(self, event: dict[str, Any]) -> None:
        handler = MigrationsHandler(
            Logger(),
            self.migrate,
            lambda _, answer: self.answers.append(answer),
            self.invoke,
            lambda: self.now,
            lambda _: "UPDATE_IN_PROGRESS",
        )
        self._requests.append(event)
        while self._requests:
            handler(self._requests.pop(), FakeContext())


@pytest.mark.parametrize(
    ("unfinished", "total", "seconds", "status"),
    [
        (0, "3600", [100], "SUCCESS"),
        (3, "3600", [100] * 4, "SUCCESS"),
        (3, "360", [100, 100, 100, 40], "SUCCESS"),
        (9, "360", [100, 100, 100, 40], "FAILED"),
    ],
)
def test_migrations_go_on_until_the_deployment_no_longer_waits(
    unfinished: int, total: str, seconds: list[int], status: str
) -> None:
    function = Lambda(unfinished)
    function.run(REQUEST | {"ResourceProperties": {"TotalSeconds": total}})
    (answer,) = function.answers
    assert (answer["Status"], function.seconds) == (status, seconds)
    assert answer["Reason"] == ("" if status == "SUCCESS" else "After 360 s, the time ended.")


def test_only_other_settings_of_the_functions_have_another_digest() -> None:
    def digest_of(**properties: object) -> str:
        function = Lambda(0)
        function.run(REQUEST | {"ResourceProperties": properties})
        (answer,) = function.answers
        return str(answer["Data"]["Settings"])

    settings_of_functions = ["INFO", "3", ""]
    first = digest_of(Settings=settings_of_functions, Revision="1")
    assert digest_of(Settings=settings_of_functions, Revision="2") == first
    assert len({first, digest_of(Settings=["INFO", "", "3"]), digest_of()}) == 3
    assert len(first) == 16


def test_lambda_repeats_the_request_if_it_can_not_be_asked_to_go_on() -> None:
    function = Lambda(1, refuses=True)
    with pytest.raises(Unfinished):
        function.run(REQUEST)
    assert function.answers == []
    function.run(REQUEST)
    assert [answer["Status"] for answer in function.answers] == ["SUCCESS"]
