"""ClickHouse has names and views for dashboards: what they show, and that they follow what PostgreSQL knows."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from clickhouse_connect.driver.client import Client

from functions.shared.catalog import registry
from functions.shared.clickhouse import columns_of
from functions.sync import known_names
from functions.sync.analysis import Analysis, AnalysisReport
from functions.sync.known_names import TABLES
from functions.sync.sync import Sync
from functions.sync.views import COLUMNS, view_name
from infra.operations.erasure.erase import Eraser
from infra.operations.erasure.subject import Subject
from tests.support import documentation
from tests.support.clock import NOW
from tests.support.documentation import DOCS
from tests.support.graphql import Insert

SECONDS = 60
VIEWS = 1 + len(registry.load().features)

type Brought = Callable[[], AnalysisReport]


@pytest.fixture
def bring(sync: Sync, database_url: str, clickhouse_url: str) -> Brought:
    """Returns a function that brings events, names and views to ClickHouse."""

    def bring() -> AnalysisReport:
        sync.run(SECONDS)
        return Analysis(database_url, clickhouse_url).run(SECONDS)

    return bring


@pytest.fixture
def named(connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO namespaces VALUES (28, '27/28/', 'acme/team'), (29, '29/', 'it''s\tother')")
    connection.execute("INSERT INTO users (id, username) VALUES (7, 'root'), (8, NULL), (9, 'é\n\\N')")
    connection.execute("INSERT INTO projects VALUES (4, '27/28/', 'acme/team/app')")


def rows(client: Client, statement: str) -> list[Any]:
    return list(client.query(statement).result_rows)


def test_the_view_of_events_has_names(named: None, insert: Insert, bring: Brought, client: Client) -> None:
    insert(NOW, 7, 7, "27/28/", 4, job_id=2**53 + 1)
    insert(NOW, 6, 8)
    insert(NOW, 6, 9, "29/", 5)
    insert(NOW, 32_000, 1)
    bring()
    assert [name for name, *_ in rows(client, "DESCRIBE events")] == [*COLUMNS, "payload"]
    columns = "event, feature, event_id, user_id, username, namespace_path, namespace_full_path, project_id"
    assert rows(client, f"SELECT {columns}, project_full_path FROM events ORDER BY event_id, user_id") == [
        ("request_duo_chat_response", "chat", 6, 8, None, "", None, None, None),
        ("request_duo_chat_response", "chat", 6, 9, "é\n\\N", "29/", "it's\tother", 5, None),
        ("troubleshoot_job", "troubleshoot_job", 7, 7, "root", "27/28/", "acme/team", 4, "acme/team/app"),
        (None, None, 32_000, 1, None, "", None, None, None),
    ]


def test_the_view_of_a_feature_has_typed_columns(insert: Insert, bring: Brought, client: Client) -> None:
    insert(NOW, 7, 7, "27/28/", 4, job_id=2**53 + 1, project_id=11, pipeline_id="text")
    insert(NOW, 2, 7, suggestion_size=5, language="ruby")
    insert(NOW, 2, 7, language=["ruby"])
    bring()
    jobs = "SELECT project_id, payload_project_id, job_id, pipeline_id FROM events_troubleshoot_job"
    assert rows(client, jobs) == [(4, 11, 2**53 + 1, None)]
    suggestions = "SELECT language, suggestion_size FROM events_code_suggestions ORDER BY suggestion_size"
    assert rows(client, suggestions) == [("ruby", 5), (None, None)]
    assert rows(client, "SELECT sum(suggestion_size) FROM events_code_suggestions WHERE language = 'ruby'") == [(5,)]
    types = dict(row[:2] for row in rows(client, "DESCRIBE events_troubleshoot_job"))
    assert types["job_id"] == "Nullable(Int64)"


def test_events_are_shown_as_they_are_now(
    insert: Insert, connection: psycopg.Connection, bring: Brought, client: Client
) -> None:
    kept, removed = insert(NOW, 6, 1), insert(NOW, 6, 2)
    bring()
    connection.execute("UPDATE ai_usage_events SET user_id = 3 WHERE id = %s", [kept])
    connection.execute("DELETE FROM ai_usage_events WHERE id = %s", [removed])
    bring()
    assert rows(client, "SELECT user_id FROM events") == [(3,)]


def test_names_follow_what_postgresql_knows_and_are_copied_only_if_they_changed(
    named: None, connection: psycopg.Connection, insert: Insert, bring: Brought, client: Client
) -> None:
    insert(NOW, 6, 7, "27/28/")
    assert bring() == AnalysisReport(len(TABLES), VIEWS)
    assert bring() == AnalysisReport(0, 0)
    connection.execute("UPDATE users SET username = 'admin' WHERE id = 7")
    connection.execute("DELETE FROM namespaces")
    assert bring() == AnalysisReport(2, 0)
    assert rows(client, "SELECT username, namespace_full_path FROM events") == [("admin", None)]
    assert rows(client, "SELECT count() FROM ai_usage_users") == [(2,)]
    assert rows(client, "SELECT count() FROM ai_usage_namespaces") == [(0,)]


def test_a_process_reads_names_again_only_after_a_change(
    named: None,
    connection: psycopg.Connection,
    insert: Insert,
    sync: Sync,
    database_url: str,
    clickhouse_url: str,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known_names, "PAUSES", 0)
    insert(NOW, 6, 7, "27/28/")
    sync.run(SECONDS)
    connection.execute("SELECT pg_stat_force_next_flush()")
    analysis = Analysis(database_url, clickhouse_url)
    assert analysis.run(SECONDS) == AnalysisReport(len(TABLES), VIEWS)
    with connection.transaction():
        connection.execute("LOCK TABLE users, namespaces, projects IN ACCESS EXCLUSIVE MODE")
        assert analysis.run(SECONDS) == AnalysisReport(0, 0)  # reads none of them, or would wait
    connection.execute("UPDATE users SET username = 'admin' WHERE id = 7")
    connection.execute("SELECT pg_stat_force_next_flush()")
    assert analysis.run(SECONDS) == AnalysisReport(1, 0)
    client.command("TRUNCATE TABLE ai_usage_users")
    assert analysis.run(SECONDS) == AnalysisReport(1, 0)
    assert rows(client, "SELECT username FROM events") == [("admin",)]


def test_an_erasure_removes_the_names(
    named: None, database_url: str, clickhouse_url: str, insert: Insert, bring: Brought, client: Client
) -> None:
    insert(NOW, 6, 7, "27/28/")
    insert(NOW, 6, 9, "29/")
    bring()
    eraser = Eraser(database_url, clickhouse_url)
    assert eraser.erase(Subject("user", "7"), "a test").clickhouse == "done"
    assert rows(client, "SELECT username FROM ai_usage_users") == [("é\n\\N",)]
    eraser.erase(Subject("namespace", "27/28/"), "a test")
    assert rows(client, "SELECT full_path FROM ai_usage_namespaces") == [("it's\tother",)]
    assert rows(client, "SELECT count() FROM ai_usage_projects") == [(0,)]


def test_views_follow_the_definitions_and_leave_others_alone(insert: Insert, bring: Brought, client: Client) -> None:
    client.command("CREATE VIEW events_chat AS SELECT 1 AS mine")
    insert(NOW - timedelta(days=1), 6, 1)
    assert bring().views == VIEWS - 1
    assert rows(client, "SELECT mine FROM events_chat") == [(1,)]
    client.command("CREATE VIEW events_former AS SELECT 1 AS one COMMENT 'made by the sync, version 0'")
    client.command("DROP VIEW events_chat")
    assert bring().views == 1
    assert not columns_of(client, "events_former")
    assert rows(client, "SELECT count() FROM events_chat") == [(1,)]
    assert {view_name(feature) for feature in registry.load().features.values()} <= {
        name for (name,) in rows(client, "SELECT name FROM system.tables WHERE database = currentDatabase()")
    }


ASSIGNED, REMOVED = 1001, 1002
PAGE = (DOCS / "howto" / "analyse.md").read_text()


def test_the_examples_of_the_page_run(
    named: None,
    insert: Insert,
    bring: Brought,
    client: Client,
    clickhouse_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = datetime.now(UTC)
    for event in (2, 2, 3):
        insert(now, event, 7, "27/28/", language="ruby")
    for user in (7, 8, 9):
        insert(now - timedelta(days=29), ASSIGNED, user, "27/28/", product="duo_pro")
    insert(now, REMOVED, 9, "27/28/", product="duo_pro")
    bring()
    answers = [rows(client, statement) for statement in documentation.blocks(PAGE, "sql")]
    assert len(answers) == 6
    assert all(answers)
    assert answers[1] == [("ruby", 2, 1, 0.5)]
    assert answers[2] == [("8", "duo_pro")], "user 7 uses the seat, user 9 has it no more"
    assert answers[4][0][:2] == ("root", 3)
    (script,) = documentation.blocks(PAGE, "python")
    monkeypatch.setenv("CLICKHOUSE_URL", clickhouse_url)
    exec(script, {})  # noqa: S102
    assert capsys.readouterr().out == "code_suggestions 3\nseats 4\n"


def test_clickhouse_reads_the_statements_of_the_page_about_rights(client: Client) -> None:
    statements = [text for block in documentation.blocks(PAGE, "text") for text in block.split(";") if text.strip()]
    assert len(statements) == 12
    for statement in statements:
        client.query("SELECT formatQuerySingleLine({statement:String})", parameters={"statement": statement})
