"""Drills: a store or the queue is lost, and the commands of the page bring it back."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from psycopg import sql

from functions.ingest.api_handler import IngestHandler
from functions.ingest.consumer_handler import ConsumerHandler
from functions.shared import clickhouse
from functions.shared.partitions import partition_name
from functions.sync.sync import Sync
from tests.functional.test_correlation import Log, log, sent
from tests.functional.test_ingest_api import CHAT, api, sqs
from tests.functional.test_refill import MANY_EVENTS, fill
from tests.functional.test_sync import LAST_MONTH, MANY, count, in_clickhouse, in_postgres, insert
from tests.support.checkout import ROOT
from tests.support.clickhouse import serve_clickhouse
from tests.support.consuming import Queues
from tests.support.documentation import DOCS, blocks, commands, section
from tests.support.refilling import SECONDS, bring, differences, directory_of

__all__ = ["api", "log", "sqs"]  # fixtures

PAGE = DOCS / "howto" / "restore.md"

CONFIGURATION = """\
<clickhouse>
    <default_database></default_database>
    <database>default</database>
    <backups><allowed_path>{backups}</allowed_path></backups>
</clickhouse>
"""


def run(text: str, folder: Path = ROOT, **environment: str) -> list[str]:
    """Runs the commands of a part of the page, each of which must succeed; returns their outputs."""
    outputs = []
    for command in commands(text):
        words = command.text.replace(".venv/bin/", f"{ROOT}/.venv/bin/")
        done = subprocess.run(
            ["bash", "-c", words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command.text}: {done.stdout}{done.stderr}"
        outputs.append(done.stdout)
    assert outputs
    return outputs


def part(heading: str, below: str | None = None) -> str:
    """Returns the text of a section of the page, or of a part of it, without the parts below."""
    text = section(PAGE, heading)
    if below is not None:
        text = text.partition(f"\n### {below}\n")[2]
        assert text, f"the page has no part {below!r}"
    return text.partition("\n### ")[0]


@contextmanager
def empty_database(url: str) -> Iterator[str]:
    """Makes a database without tables on the server of a URL."""
    server, _, name = url.rpartition("/")
    identifier = sql.Identifier(f"{name}_new")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as administration:
        administration.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
        try:
            yield f"{server}/{name}_new"
        finally:
            administration.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


def test_a_lost_postgresql_is_filled_from_clickhouse_by_the_pages_commands(
    consumer: ConsumerHandler, connection: psycopg.Connection, database_url: str, clickhouse_url: str
) -> None:
    fill(consumer, connection)
    bring(database_url, clickhouse_url)
    before, directory = in_postgres(connection), directory_of(connection)
    with empty_database(database_url) as new_url:
        outputs = run(part("PostgreSQL is lost"), DATABASE_URL=new_url, CLICKHOUSE_URL=clickhouse_url)
        assert outputs[2].startswith(f"{MANY_EVENTS + 40:,} events")
        with psycopg.connect(new_url, autocommit=True) as new:
            assert in_postgres(new) == before
            found = directory_of(new)
        assert found | {"releases": []} == directory | {"releases": []}
        assert differences(new_url, clickhouse_url) == []


def test_a_lost_clickhouse_is_filled_from_postgresql_by_the_pages_commands(
    consumer: ConsumerHandler, connection: psycopg.Connection, database_url: str, clickhouse_url: str, client: Client
) -> None:
    fill(consumer, connection)
    bring(database_url, clickhouse_url)
    for (name,) in client.query("SHOW TABLES").result_rows:
        client.command(f"DROP TABLE `{name}` SYNC")
    run(part("ClickHouse is lost"), DATABASE_URL=database_url, CLICKHOUSE_URL=clickhouse_url)
    assert in_clickhouse(client) == in_postgres(connection)


@pytest.mark.parametrize("is_dropped", [False, True])
def test_the_sync_fills_a_clickhouse_that_is_empty_by_itself(
    is_dropped: bool, sync: Sync, connection: psycopg.Connection, client: Client
) -> None:
    connection.execute(MANY, [500])
    sync.run(SECONDS)
    client.command(f"{'DROP' if is_dropped else 'TRUNCATE'} TABLE ai_usage_events")
    assert [sync.run(SECONDS).rows for _ in range(2)] == [500, 0]
    assert in_clickhouse(client) == in_postgres(connection)
    connection.execute("DELETE FROM ai_usage_events")
    sync.run(SECONDS)
    client.command("TRUNCATE TABLE ai_usage_events")
    assert sync.run(SECONDS).rows == 0


def test_a_backup_brings_back_what_only_clickhouse_had(
    connection: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    connection.execute(MANY, [500])
    with serve_clickhouse(tmp_path) as url:
        bring(database_url, url)
    connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(partition_name(LAST_MONTH.date()))))
    backups = tmp_path / "backups"
    backups.mkdir()
    (tmp_path / "new").mkdir()
    (statement,) = blocks(part("ClickHouse is lost", "Back up ClickHouse"), "sql")
    run_in_engine(tmp_path / "clickhouse", backups, statement)
    removed = connection.execute("DELETE FROM ai_usage_events WHERE user_id = 7 RETURNING id").fetchall()
    added = insert(connection)
    restoring = part("ClickHouse is lost", "Restore ClickHouse from a backup")
    with serve_clickhouse(tmp_path / "new") as url:
        pass  # makes the folder of an empty server
    restore, erasures = blocks(restoring, "sql")
    run_in_engine(tmp_path / "new" / "clickhouse", backups, restore)
    with serve_clickhouse(tmp_path / "new", anew=False) as url:
        run(restoring, DATABASE_URL=database_url, CLICKHOUSE_URL=url)
        assert differences(database_url, url) == []
        with closing(clickhouse.connect(url, SECONDS)) as client:
            found = {row[0] for row in in_clickhouse(client)}
            assert (count(client), added in found) == (500 - len(removed) + 1, True)
    assert connection.execute(erasures).fetchall() == []


def test_the_logs_say_what_a_lost_queue_took_along_and_sending_again_stores_it_once(
    queues: Queues,
    api: IngestHandler,
    consumer: ConsumerHandler,
    connection: psycopg.Connection,
    log: Log,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    requests = {f"request-{number}": [CHAT | {"id": str(uuid4())} for _ in range(number)] for number in range(1, 6)}
    told = set[str]()
    for number, (request_id, events) in enumerate(requests.items()):
        told |= set(json.loads(api(sent(events, request_id), None)["body"])["ids"])
        if number < 2:
            queues.consume(consumer)
    queues.sqs.purge_queue(QueueUrl=queues.url)
    lines = log.stream.getvalue() + capsys.readouterr().out
    (tmp_path / "ingest.log").write_text(
        "".join(line for line in lines.splitlines(keepends=True) if "consumed" not in line)
    )
    (tmp_path / "consumer.log").write_text(
        "".join(line for line in lines.splitlines(keepends=True) if "consumed" in line)
    )
    short, long = run(part("The queue is lost"), tmp_path)
    assert short.startswith("3 of 5 accepted requests were never consumed: 12 events.\n")
    assert "3 requests, 12 events" in short
    lost = [line.split()[0] for line in long.removeprefix(short).splitlines()]
    assert lost == ["request-3", "request-4", "request-5"]
    for request_id in ("request-2", *lost):
        api(sent(requests[request_id], f"{request_id}-again"), None)
    queues.consume(consumer)
    assert ({str(row[0]) for row in in_postgres(connection)}, len(told)) == (told, 15)


def run_in_engine(data: Path, backups: Path, statement: str) -> None:
    """Runs a statement on a server's data while the server is down: the local server itself may write no files."""
    configuration = backups.with_suffix(".xml")
    configuration.write_text(CONFIGURATION.format(backups=backups))
    code = "import sys, chdb; chdb.connect(sys.argv[1]).query(sys.argv[2])"
    path, statement = f"{data}?config-file={configuration}", statement.replace("File('", f"File('{backups}/")
    done = subprocess.run([sys.executable, "-c", code, path, statement], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
