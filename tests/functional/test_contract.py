"""What producers send is compared with the week before: alike in both stores, by the retention and by a command."""

import json
from datetime import timedelta

import psycopg
import pytest
from typer.testing import CliRunner

from functions.retention.contract import counts
from functions.retention.contract.verdict import Verdict, fallen
from functions.retention.contract.watch import ContractWatch
from functions.retention.handler import build
from functions.retention.retention import Retention
from functions.shared.catalog import registry
from functions.shared.timestamp import utc_now
from functions.sync.sync import Sync
from infra.cli import app
from tests.support.lambda_context import FakeContext

SECONDS = 60
DAY = utc_now().date() - timedelta(days=1)
REGISTRY = registry.load()
FELL = ("code_suggestion_shown_in_ide", "language", Verdict.FELL)
STOPPED = ("request_duo_chat_response", "", Verdict.STOPPED)

_EVENTS = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)
    SELECT gen_random_uuid(),
        %(day)s::timestamp AT TIME ZONE 'UTC' - ago * interval '1 day' + number * interval '1 second',
        %(event)s, 1, CASE WHEN ago = 0 THEN %(payload)s ELSE %(before)s END::jsonb
    FROM generate_series(%(first)s::int, 7) AS ago, generate_series(0, 59) AS number
"""


@pytest.fixture
def stored(connection: psycopg.Connection) -> None:
    """A week and a day in which a key is no longer sent, another one is, and an event stopped."""
    code = {"suggestion_size": 5}, {"language": "ruby", "suggestion_size": 5}
    job = {"job_id": 1}
    for event, first, (payload, before) in ((2, 0, code), (6, 1, ({}, {})), (7, 0, (job, job))):
        values = {"day": DAY, "event": event, "first": first, "payload": json.dumps(payload)}
        connection.execute(_EVENTS, values | {"before": json.dumps(before)})


def found(watch: ContractWatch) -> set[tuple[str, str, Verdict]]:
    return {(one.event, one.key, one.verdict) for one in fallen(watch.compare(DAY, SECONDS))}


def test_a_key_that_fell_and_an_event_that_stopped_are_found_in_postgresql(stored: None, database_url: str) -> None:
    assert found(ContractWatch(database_url)) == {FELL, STOPPED}


def test_both_stores_count_alike(
    stored: None, connection: psycopg.Connection, database_url: str, clickhouse_url: str, sync: Sync
) -> None:
    sync.run(SECONDS)
    connection.execute("TRUNCATE ai_usage_events")  # what is found now comes from ClickHouse
    assert found(ContractWatch(database_url, clickhouse_url)) == {FELL, STOPPED}


@pytest.mark.parametrize("is_away", [True, False])
def test_postgresql_is_asked_while_clickhouse_is_away_or_behind(
    is_away: bool, stored: None, database_url: str, clickhouse_url: str
) -> None:
    url = "clickhouse://default@127.0.0.1:1/default" if is_away else clickhouse_url
    assert found(ContractWatch(database_url, url)) == {FELL, STOPPED}


def test_nothing_is_found_where_nothing_is_stored(database_url: str) -> None:
    assert ContractWatch(database_url).compare(DAY, SECONDS) == []


def test_keys_of_objects_are_counted(connection: psycopg.Connection, database_url: str) -> None:
    connection.execute(_EVENTS, {"day": DAY, "event": 7, "first": 0, "payload": '{"job": {"size": 1}}', "before": "{}"})
    day = counts.in_postgresql(connection, {("job", "size"): (7,), ("job", "other"): (7,)}, [7], DAY, DAY)[7][DAY]
    assert day == counts.Day(60, {("job", "size"): 60, ("job", "other"): 0})


def test_the_retention_logs_and_counts_what_fell(
    stored: None, database_url: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    build(Retention(database_url, 3), contract=ContractWatch(database_url))({}, FakeContext())
    lines = [record.__dict__ for record in caplog.records if record.levelname == "WARNING"]
    named = {(line["message"], line["event"], line["key"], line["before"], line["share"]) for line in lines}
    assert named == {
        ("fewer events carry a key", "code_suggestion_shown_in_ide", "language", 1.0, 0.0),
        ("an event stopped", "request_duo_chat_response", "", 60.0, 0.0),
    }
    emitted = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "FallenKeys" in line]
    assert [(line["FallenKeys"], line["ContractFailures"]) for line in emitted] == [(2, 0)]


def test_a_comparison_that_fails_is_counted_and_does_not_fail_the_retention(
    database_url: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = ContractWatch("postgresql://nobody@127.0.0.1:1/nothing")
    build(Retention(database_url, 3), contract=nowhere)({}, FakeContext())
    assert "What was sent could not be compared" in caplog.messages
    emitted = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "ContractFailures" in line]
    assert [(line["ContractFailures"], "FallenKeys" in line) for line in emitted] == [(1, False)]


def test_the_command_shows_events_and_keys(stored: None, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    whole = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["contract"])
    assert whole.exit_code == 0, whole.output
    assert "suggestion_size" in whole.output
    fell = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["contract", "--fallen", "--day", DAY.isoformat()])
    assert [verdict for verdict in ("fell", "stopped", "kept") if verdict in fell.output] == ["fell", "stopped"]
