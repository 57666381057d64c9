"""The rights that the page about other tools grants, tried on ClickHouse's engine.

The embedded engine has no users to create by statements. It takes the page's grants and conditions of row policies for
its only user from a file.
"""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

import psycopg
import pytest

from functions.sync.analysis import Analysis
from functions.sync.sync import Sync
from tests.support import documentation
from tests.support.clickhouse import serve_clickhouse
from tests.support.documentation import DOCS
from tests.support.graphql import Insert

SECONDS = 60
PAGE = (DOCS / "howto" / "analyse.md").read_text()
STATEMENTS = [" ".join(text.split()) for block in documentation.blocks(PAGE, "text") for text in block.split(";")]
GRANTS = [text.removesuffix(" TO analyst") for text in STATEMENTS if text.startswith("GRANT")]
POLICY = re.compile(r"CREATE ROW POLICY \w+ ON default\.(\w+) USING (.+) TO analyst")
POLICIES = {found[1]: found[2] for text in STATEMENTS if (found := POLICY.fullmatch(text))}

USERS = """
<clickhouse>
    <profiles><default><readonly>1</readonly></default></profiles>
    <quotas><default/></quotas>
    <users>
        <default>
            <password></password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
            <grants>{grants}</grants>
            <databases><default>{filters}</default></databases>
        </default>
    </users>
</clickhouse>
"""
CONFIGURATION = """
<clickhouse>
    <users_config>{users}</users_config><default_database></default_database><database>default</database>
</clickhouse>
"""
ASK = """
import chdb, json, sys

connection = chdb.connect(sys.argv[1])
for statement in json.load(sys.stdin):
    try:
        answer = str(connection.query(statement, "TSV")).strip()
    except Exception as error:
        answer = "refused" if "Not enough privileges" in str(error) or "readonly" in str(error) else str(error)
    print(json.dumps(answer))
"""


@pytest.fixture
def data(database_url: str, connection: psycopg.Connection, insert: Insert, tmp_path: Path) -> Path:
    """The folder of a ClickHouse that has two events of two namespaces, and has stopped."""
    connection.execute("INSERT INTO namespaces VALUES (28, '27/28/', 'acme/team'), (29, '29/', 'other')")
    connection.execute("INSERT INTO users (id, username) VALUES (7, 'root')")
    insert(datetime.now(UTC), 2, 7, "27/28/", language="ruby")
    insert(datetime.now(UTC), 2, 7, "29/", language="go")
    with serve_clickhouse(tmp_path) as url:
        Sync(database_url, url).run(SECONDS)
        Analysis(database_url, url).run(SECONDS)
    return tmp_path / "clickhouse"


def answers(data: Path, policies: dict[str, str], *statements: str) -> list[str]:
    """Returns what the engine answers a user with the rights of the page, or `refused`."""
    users, configuration = data.with_name("users.xml"), data.with_name("config.xml")
    grants = "".join(f"<query>{grant}</query>" for grant in GRANTS)
    filters = "".join(f"<{table}><filter>{escape(rule)}</filter></{table}>" for table, rule in policies.items())
    users.write_text(USERS.format(grants=grants, filters=filters))
    configuration.write_text(CONFIGURATION.format(users=users))
    asked = subprocess.run(
        [sys.executable, "-c", ASK, f"{data}?config-file={configuration}"],
        input=json.dumps(["USE default", *statements]),
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in asked.stdout.splitlines()][1:]


NAMES = "SELECT namespace_full_path, username FROM events ORDER BY 1"
LANGUAGES = "SELECT language FROM events_code_suggestions ORDER BY 1"


def test_the_user_reads_events_or_those_of_a_namespace_and_nothing_else(data: Path) -> None:
    assert answers(
        data,
        {},
        NAMES,
        LANGUAGES,
        "SELECT count() FROM ai_usage_events_current",
        "INSERT INTO ai_usage_users (id) VALUES (1)",
        "ALTER TABLE ai_usage_events DELETE WHERE true",
    ) == ["acme/team\troot\nother\troot", "go\nruby", *["refused"] * 3]
    assert POLICIES.keys() == {f"ai_usage_{name}" for name in ("events", "namespaces", "projects", "users")}
    assert answers(data, POLICIES, NAMES, LANGUAGES) == ["acme/team\t\\N", "ruby"]


def test_the_statements_of_the_page_are_those_that_are_tried_and_the_user() -> None:
    others = [text for text in STATEMENTS if text and not text.startswith("GRANT") and not POLICY.fullmatch(text)]
    assert [text.split(" IDENTIFIED")[0] for text in others] == ["CREATE USER analyst"]
