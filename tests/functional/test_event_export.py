"""`usage-events export` writes exactly the events that the filters select, all of them or no file."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, cast
from unittest.mock import patch
from uuid import UUID

import psycopg
import pyarrow.parquet
import pytest
from graphql import GraphQLSchema
from typer.testing import CliRunner, Result

from functions.graphql.context import Coverage
from functions.graphql.export.events import COLUMNS, ExportedEvent
from functions.graphql.export.filters import read_filters
from functions.graphql.export.formats import csv_lines
from functions.graphql.query.days import midnight
from functions.graphql.query.selection import Selection
from functions.graphql.schema import executable_schema
from functions.graphql.types.arguments import select
from functions.shared.catalog import registry
from functions.shared.partitions import first_moment, later_month, make_partitions, month_of
from functions.sync.sync import Sync
from infra.cli import app
from infra.operations.export.error import ExportError
from infra.operations.export.export import EventExport, Exported
from infra.operations.export.output import STANDARD_OUTPUT, CountedOutput, opened
from infra.operations.export.sources import Segment, Source, segments
from infra.operations.export.writers import Format, writer
from tests.support.clock import NOW
from tests.support.graphql import Insert
from tests.support.metrics_model import Event
from tests.support.random_events import TODAY, model_of, random_filters

SECONDS = 60
PROCESSES = {"postgresql": Source.postgresql, "clickhouse": Source.clickhouse, "both": Source.auto}
MANY, MAX_BYTES = (1_000_000, 30_000_000) if os.environ.get("SOAK") else (10_000, 14_000_000)

_FILL = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, project_id, payload)
    SELECT gen_random_uuid(), %(end)s::timestamptz - number * interval '0.3 seconds', 2, 1 + number %% 1000,
        '27/' || 1 + number %% 50 || '/', 4, jsonb_build_object('language', 'ruby', 'suggestion_size', number)
    FROM generate_series(1, %(count)s) AS number
"""


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return executable_schema(registry.load())


def exported(exporter: EventExport, selection: Selection, kind: Format = Format.ndjson) -> bytes:
    file = io.BytesIO()
    exporter.export(selection, writer(kind, CountedOutput("memory", file), spreadsheet=False))
    return file.getvalue()


def lines(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def texts(filters: dict[str, Any]) -> dict[str, list[str]]:
    """Returns GraphQL's arguments as an export takes them."""
    alone = {name: [value] for name, value in filters.items() if isinstance(value, str)}
    lists = {name: value for name, value in filters.items() if isinstance(value, list)}
    return alone | lists | {name: [json.dumps(filters[name])] for name in ("payload", "not") if name in filters}


def expected_line(event: Event) -> tuple[Any, ...]:
    known = registry.load().by_id[event.event]
    return event.timestamp, known.name, known.feature.name, event.user, event.path, event.project, event.payload


def found_line(line: dict[str, Any]) -> tuple[Any, ...]:
    moment = datetime.fromisoformat(line["timestamp"])
    names = ("event", "feature", "user_id", "namespace_path", "project_id", "payload")
    return moment, *(line[name] for name in names)


def by_text(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(rows, key=lambda row: (row[0], *map(repr, row[1:6]), json.dumps(row[6], sort_keys=True)))


@pytest.mark.parametrize("store", list(PROCESSES))
def test_an_export_has_the_events_that_a_plain_model_selects(
    store: str, events: list[Event], schema: GraphQLSchema, database_url: str, clickhouse_url: str
) -> None:
    Sync(database_url, clickhouse_url).run(SECONDS)
    exporter = EventExport(database_url, registry.load(), clickhouse_url, PROCESSES[store])
    chance = Random(store)
    for namespaces in (["*"], ["27/"], ["27/28/", "3/"], ["27/281/"]) * 3:
        filters = random_filters(chance)
        coverage = Coverage(None if namespaces == ["*"] else tuple(namespaces))
        selection = select(coverage, exporter.registry, TODAY, read_filters(schema, texts(filters)))
        model = model_of(events, namespaces)
        found = lines(exported(exporter, selection))
        assert by_text([found_line(line) for line in found]) == by_text(
            [expected_line(event) for event in model.selected(filters)]
        )
        assert [line["timestamp"] for line in found] == sorted((line["timestamp"] for line in found), reverse=True)
        of_csv = csv.DictReader(io.StringIO(exported(exporter, selection, Format.csv).decode(), newline=""))
        for row, line in zip(of_csv, found, strict=True):
            assert json.loads(row.pop("payload")) == line.pop("payload")
            assert row == {name: "" if value is None else str(value) for name, value in line.items()}


def test_a_parquet_file_has_exact_integers_and_microseconds(
    insert: Insert, database_url: str, schema: GraphQLSchema
) -> None:
    moment = NOW.replace(microsecond=123_457)
    identifier = insert(moment, 7, 2**63 - 1, "27/", 2**63 - 2, job_id=2**64 - 1)
    insert(moment - timedelta(hours=1), 6, 1)
    exporter = EventExport(database_url, registry.load())
    selection = select(Coverage(None), exporter.registry, TODAY, read_filters(schema, {}))
    with patch("infra.operations.export.parquet.ROWS_PER_GROUP", 1):
        content = exported(exporter, selection, Format.parquet)
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    assert tuple(table.column_names) == COLUMNS
    assert table.schema.field("timestamp").type == pyarrow.timestamp("us", tz="UTC")
    assert {str(table.schema.field(name).type) for name in ("user_id", "project_id")} == {"int64"}
    first, second = table.to_pylist()
    assert first == {
        "id": identifier,
        "timestamp": moment,
        "event": "troubleshoot_job",
        "feature": "troubleshoot_job",
        "user_id": 2**63 - 1,
        "username": None,
        "namespace_path": "27/",
        "namespace_full_path": None,
        "project_id": 2**63 - 2,
        "payload": '{"job_id":18446744073709551615}',
    }
    assert (second["event"], second["project_id"], second["payload"]) == ("request_duo_chat_response", None, "{}")


def test_an_empty_parquet_file_has_the_columns(database_url: str, schema: GraphQLSchema) -> None:
    exporter = EventExport(database_url, registry.load())
    selection = select(Coverage(None), exporter.registry, TODAY, read_filters(schema, {}))
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(exported(exporter, selection, Format.parquet)))
    assert tuple(table.column_names) == COLUMNS
    assert table.num_rows == 0


def test_events_of_months_that_postgresql_lacks_come_from_clickhouse(
    connection: psycopg.Connection, insert: Insert, database_url: str, clickhouse_url: str, schema: GraphQLSchema
) -> None:
    old, hole = (later_month(month_of(NOW.date()), -months) for months in (5, 4))
    make_partitions(connection, [old, hole])
    of_old, of_hole = insert(first_moment(old)), insert(first_moment(hole) + timedelta(days=3))
    Sync(database_url, clickhouse_url).run(SECONDS)
    of_now = insert(NOW)
    connection.execute(f"DROP TABLE ai_usage_events_{hole:%Y%m}")
    exporter = EventExport(database_url, registry.load(), clickhouse_url)
    selection = select(Coverage(None), exporter.registry, TODAY, read_filters(schema, {"startDate": ["1970-01-01"]}))
    told = exporter.export(selection, writer(Format.ndjson, CountedOutput("x", io.BytesIO()), spreadsheet=False))
    assert told.sources[:3] == [Source.postgresql, Source.clickhouse, Source.postgresql]
    assert [line["id"] for line in lines(exported(exporter, selection))] == [of_now, of_hole, of_old]


def test_a_period_is_divided_at_the_ends_of_months(connection: psycopg.Connection) -> None:
    kept = later_month(month_of(NOW.date()), -3)
    begin, end = midnight(later_month(kept, -2)) + timedelta(days=9), midnight(later_month(kept, 40))
    found = segments(connection, begin, end, Source.auto, has_clickhouse=True)
    assert found == [
        Segment(Source.postgresql, first_moment(kept), end),
        Segment(Source.clickhouse, begin, first_moment(kept)),
    ]
    assert segments(connection, begin, end, Source.auto, has_clickhouse=False) == [
        Segment(Source.postgresql, begin, end)
    ]


@pytest.fixture
def run(database_url: str) -> Callable[..., Result]:
    """Returns a function that runs the command and returns what came of it."""

    def run(*arguments: str, **settings: str) -> Result:
        with patch.dict(os.environ):
            return CliRunner().invoke(app, ["export", *arguments], env={"DATABASE_URL": database_url} | settings)

    return run


def test_names_are_exported_and_a_namespace_is_found_by_its_full_path(
    run: Callable[..., Result], connection: psycopg.Connection, insert: Insert, tmp_path: Path
) -> None:
    connection.execute("INSERT INTO namespaces VALUES (28, '27/28/', 'acme/team'), (29, '29/', 'other')")
    connection.execute("INSERT INTO users (id, username) VALUES (7, 'root')")
    now = datetime.now(UTC)
    identifier = insert(now, 7, 7, "27/28/", 2**63 - 1, job_id=2**53 + 1, text='a,"b" é')
    insert(now, 6, 8, "29/")
    insert(now - timedelta(days=30), 7, 7, "27/28/")
    file = tmp_path / "events.csv"
    done = run("--namespace", "acme/team", "--output", str(file))
    assert done.exit_code == 0, done.output
    assert "Exported 1 event from postgresql: 0.0 MB in" in done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    header, row = csv.reader(io.StringIO(file.read_text(), newline=""))
    assert tuple(header) == COLUMNS
    assert row[:1] + row[2:9] == [
        identifier,
        "troubleshoot_job",
        "troubleshoot_job",
        "7",
        "root",
        "27/28/",
        "acme/team",
        str(2**63 - 1),
    ]
    assert json.loads(row[9]) == {"job_id": 2**53 + 1, "text": 'a,"b" é'}
    printed = run("--format", "ndjson", "--event", "request_duo_chat_response", "--user", "8")
    assert printed.exit_code == 0, printed.output
    assert [line["namespace_full_path"] for line in lines(printed.stdout.encode())] == ["other"]
    assert lines(run("--format", "ndjson", "--feature", "chat", "--project", "4").stdout.encode()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--namespace", "nowhere"], 1, "no namespace or project is known as nowhere"),
        (["--event", "nothing"], 2, "'NOTHING' does not exist in 'AiUsageEventType'"),
        (["--user", "x"], 2, "--user: 'x' is not a user's id"),
        (["--start", "yesterday"], 2, "is not a day like 2026-11-20"),
        (["--start", "2026-11-20", "--end", "2026-11-19"], 2, "--end 2026-11-19 is before --start 2026-11-20"),
        (["--payload", "language"], 2, "payload must be JSON like"),
        (["--payload", '{"path": "a", "about": 1}'], 2, "about"),
        (["--output", "/nowhere/events.csv"], 1, "can't be written: there is no such folder"),
        (["--output", "/"], 1, "can't be written: it is a folder"),
        (["--output", "/dev/full"], 1, "can't be written: the disk is full"),
        (["--source", "clickhouse"], 1, "ClickHouse is off"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_can_not_be_exported_is_explained(
    run: Callable[..., Result], arguments: list[str], code: int, said: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_a_clickhouse_that_has_not_caught_up_is_not_exported_from(
    run: Callable[..., Result], clickhouse_url: str
) -> None:
    result = run("--start", "1970-01-01", CLICKHOUSE_URL=clickhouse_url)
    assert result.exit_code == 1
    assert "which has no events yet; --source postgresql exports what PostgreSQL has" in result.stderr


def test_a_closed_pipe_is_explained() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as file, pytest.raises(ExportError, match="closed before the end"):
        CountedOutput("standard output", file).write(b"event")


def test_an_export_that_fails_leaves_the_former_file(tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    file.write_text("former")
    with pytest.raises(ZeroDivisionError), opened(file) as output:  # noqa: PT012
        output.write(b"half")
        output.flush()
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["events.csv"]
    assert file.read_text() == "former"


def test_an_export_that_is_stopped_leaves_no_file(run: Callable[..., Result], insert: Insert, tmp_path: Path) -> None:
    insert(datetime.now(UTC))

    def stop(*_: Any) -> None:
        assert len(list(tmp_path.iterdir())) == 1
        os.kill(os.getpid(), signal.SIGTERM)

    with patch("infra.cli.export._Progress.__call__", stop):
        result = run("--output", str(tmp_path / "events.csv"))
    assert result.exit_code == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys, pathlib
from infra.operations.export.output import opened
with opened(pathlib.Path(sys.argv[1])) as output:
    output.write(b"half")
    output.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_export_that_is_killed_leaves_no_half_file(tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    done = subprocess.run([sys.executable, "-c", KILLED, str(file)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not file.exists()


def test_a_device_is_written_and_not_replaced(run: Callable[..., Result], insert: Insert) -> None:
    insert(datetime.now(UTC))
    assert run("--output", os.devnull).exit_code == 0
    assert Path(os.devnull).is_char_device()
    assert str(STANDARD_OUTPUT) == "-"


def test_names_that_spreadsheets_take_for_formulas_get_an_apostrophe_if_asked() -> None:
    event = ExportedEvent(UUID(int=1), NOW, "e", "f", 1, "=cmd|' /C calc'!A0", "27/", "@acme", None, '{"a":"=1"}')
    plain, safe = (
        next(csv.reader(io.StringIO(csv_lines([event], spreadsheet=spreadsheet).decode(), newline="")))
        for spreadsheet in (False, True)
    )
    assert (plain[5], plain[7]) == ("=cmd|' /C calc'!A0", "@acme")
    assert (safe[5], safe[7]) == ("'=cmd|' /C calc'!A0", "'@acme")
    assert plain[9] == safe[9] == '{"a":"=1"}'


@pytest.mark.parametrize("source", [Source.postgresql, Source.clickhouse])
def test_an_export_of_many_events_takes_little_memory(
    source: Source, connection: psycopg.Connection, schema: GraphQLSchema, database_url: str, clickhouse_url: str
) -> None:
    connection.execute(_FILL, {"count": MANY, "end": NOW})
    if source is Source.clickhouse:
        Sync(database_url, clickhouse_url).run(SECONDS * 10)
    told = list[Exported]()
    exporter = EventExport(database_url, registry.load(), clickhouse_url, source, told.append)
    selection = select(Coverage(None), exporter.registry, TODAY, read_filters(schema, {}))

    class Sink:
        def write(self, content: bytes) -> int:
            return len(content)

    output = CountedOutput("sink", cast("Any", Sink()))
    tracemalloc.start()
    done = exporter.export(selection, writer(Format.csv, output, spreadsheet=False))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert done.events == MANY
    assert output.size > MANY * 150
    assert peak < MAX_BYTES
    assert len(told) >= MANY // 2000
