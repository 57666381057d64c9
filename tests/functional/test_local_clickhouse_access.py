"""Access to the local ClickHouse: who may send statements, and which statements nobody may send."""

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import chdb
import clickhouse_connect
import httpx
import psutil
import pytest
from clickhouse_connect.driver.client import Client

from infra.local import ports
from infra.local.clickhouse import rights
from tests.support import plain_http
from tests.support.clickhouse import serve_clickhouse

SECRET = "never-shown-to-anybody"
ACCESS_DENIED, AUTHENTICATION_FAILED = "497", "516"

# ClickHouse's rights do not cover the scalar function `file()`. Only Landlock, a part of Linux, keeps it from files.
NEEDS_LANDLOCK = pytest.mark.skipif(sys.platform != "linux", reason="the function file() is confined on Linux alone")


class Server(NamedTuple):
    """A ClickHouse server of these tests' own."""

    url: str
    http: str
    user: str
    password: str
    folder: Path


def serve_with_a_secret(folder: Path, patch: pytest.MonkeyPatch) -> AbstractContextManager[str]:
    """Starts the server with a secret in its environment."""
    patch.setenv("A_SECRET", SECRET)
    return serve_clickhouse(folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clickhouse")
    with pytest.MonkeyPatch.context() as patch, serve_with_a_secret(folder, patch) as url:
        parts = urlsplit(url)
        yield Server(url, f"http://{parts.hostname}:{parts.port}", str(parts.username), str(parts.password), folder)


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with clickhouse_connect.get_client(dsn=server.url) as client:
        for table in ("stolen", "made"):
            client.command(f"DROP TABLE IF EXISTS {table}")
        client.command("CREATE TABLE stolen (a String) ENGINE = Memory")
        yield client


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with plain_http.client(base_url=server.http, auth=(server.user, server.password), timeout=60) as http:
        yield http


# Who may ask


def test_whoever_knows_the_password_is_answered_in_each_way_to_say_it(server: Server) -> None:
    user, password = server.user, server.password
    answers = [
        plain_http.post(server.http, content="SELECT 1", auth=(user, password)),
        plain_http.post(
            server.http,
            content="SELECT 1",
            headers={"X-ClickHouse-User": user, "X-ClickHouse-Key": password},
        ),
        plain_http.post(server.http, content="SELECT 1", headers={"X-ClickHouse-Key": password}),
        plain_http.post(server.http, content="SELECT 1", params={"user": user, "password": password}),
        plain_http.get(server.http, params={"query": "SELECT 1", "password": password}),
    ]
    assert [answer.text for answer in answers] == ["1\n"] * len(answers)


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [
        ({}, {}),
        ({"X-ClickHouse-User": "default"}, {}),
        ({"X-ClickHouse-User": "default", "X-ClickHouse-Key": "wrong"}, {}),
        ({"X-ClickHouse-User": "other", "X-ClickHouse-Key": "{password}"}, {}),
        ({"X-ClickHouse-Key": "{password}x"}, {}),
        ({"X-ClickHouse-Key": "é"}, {"password": "{password}"}),
        ({"Authorization": "Basic !!"}, {"password": "{password}"}),
        ({"Authorization": "Basic ZGVmYXVsdDo="}, {}),
        ({"Authorization": "Basic /w=="}, {}),
        ({"Authorization": "Bearer {password}"}, {}),
        ({}, {"user": "default", "password": ""}),
        ({}, {"user": "default", "password": "é"}),
        ({}, {"user": "", "password": "{password}"}),
    ],
)
def test_whoever_does_not_know_the_password_is_not_answered(
    server: Server, headers: dict[str, str], parameters: dict[str, str]
) -> None:
    def filled(values: dict[str, str]) -> dict[str, str]:
        return {name: value.format(password=server.password) for name, value in values.items()}

    named = {name.encode(): value.encode() for name, value in filled(headers).items()}
    answer = plain_http.post(server.http, content="SELECT 1", headers=named, params=filled(parameters))
    assert answer.status_code == 401
    assert answer.headers["X-ClickHouse-Exception-Code"] == AUTHENTICATION_FAILED
    assert "Code: 516" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Host": "127.0.0.1:{port}@evil.example"},
        {"Host": "localhost.evil.example:{port}"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Origin": "http://127.0.0.1:{port}.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_place_is_refused_before_anything_is_read(server: Server, headers: dict[str, str]) -> None:
    port = urlsplit(server.http).port
    foreign = {name: value.format(port=port) for name, value in headers.items()} | {"Content-Type": "text/plain"}
    parameters = {"user": server.user, "password": server.password}
    answers = [
        plain_http.post(server.http, content="SELECT 1", headers=foreign, params=parameters),
        plain_http.get(server.http, headers=foreign, params=parameters | {"query": "SELECT 1"}),
        plain_http.get(f"{server.http}/ping", headers=foreign),
    ]
    assert [answer.status_code for answer in answers] == [403] * len(answers)


def test_a_page_of_its_own_and_every_name_of_this_machine_are_answered(server: Server, http: httpx.Client) -> None:
    port = urlsplit(server.http).port
    for name in ("127.0.0.1", "localhost", "LocalHost", "[::1]"):
        own = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}", "Sec-Fetch-Site": "same-origin"}
        assert http.post("/", content="SELECT 1", headers=own).text == "1\n"


def test_whether_the_server_is_up_needs_no_password(server: Server) -> None:
    assert plain_http.get(f"{server.http}/ping").text == "Ok.\n"


def test_the_password_is_kept_for_the_folder_and_shown_to_nobody(server: Server) -> None:
    kept = server.folder / "clickhouse_password"
    assert kept.read_text() == server.password
    assert len(server.password) >= 32
    for path in (kept, server.folder / "clickhouse", server.folder / "clickhouse.log"):
        assert path.stat().st_mode & 0o077 == 0, path
    for process in psutil.process_iter(["cmdline"]):
        assert server.password not in " ".join(process.info["cmdline"] or [])


# What nobody may have it do


class Surroundings(NamedTuple):
    """Files, addresses and a secret on this machine that statements must not reach."""

    secret: Path
    rows: Path
    target: Path
    port: int
    requests: list[str]


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    folder = tmp_path_factory.mktemp("private")
    secret, rows = folder / "secret", folder / "rows.csv"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    rows.write_text(f'"{SECRET}"\n')
    rows.chmod(0o600)
    requests: list[str] = []

    class Other(BaseHTTPRequestHandler):
        """A server on this machine that nobody may reach through ClickHouse."""

        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SECRET.encode())

        do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815 - the names that requests go by

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer((ports.HOST, 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        yield Surroundings(secret, rows, folder / "written", other.server_port, requests)
        other.shutdown()


NAMED = [
    # Files, read
    "SELECT * FROM file('{secret}', LineAsString)",
    "SELECT * FROM FILE('{secret}', LineAsString, 'a String')",
    "SELECT * FROM `file`('{secret}', LineAsString)",
    "SELECT * FROM \"file\" /* so */ ('{secret}', LineAsString)",
    "SELECT * FROM `f\\x69le`('{secret}', LineAsString)",
    "SELECT/**/*/**/FROM--\n(SELECT * FROM/**/file('{secret}', LineAsString))",
    "WITH x AS (SELECT * FROM file('{secret}', LineAsString)) SELECT * FROM x",
    "SELECT count() FROM numbers(1) WHERE '' IN (SELECT * FROM file('{secret}', LineAsString))",
    "DESCRIBE TABLE file('{rows}', CSV)",
    "EXPLAIN SELECT * FROM file('{rows}', CSV)",
    "INSERT INTO stolen SELECT * FROM file('{secret}', LineAsString)",
    "CREATE TABLE made ENGINE = Memory AS SELECT * FROM file('{secret}', LineAsString)",
    "CREATE VIEW made AS SELECT * FROM file('{secret}', LineAsString)",
    "CREATE TABLE made AS file('{secret}', LineAsString)",
    "SELECT * FROM fileCluster('default', '{secret}', LineAsString)",
    "SELECT * FROM filesystem('{folder}')",
    "SELECT * FROM sqlite('{secret}', 't')",
    "SELECT * FROM icebergLocal('{folder}')",
    "SELECT * FROM deltaLakeLocal('{folder}')",
    "SELECT * FROM executable('cat', LineAsString, 'a String')",
    "SELECT * FROM Python(SECRET)",
    "SELECT * FROM python('sys')",
    "SELECT file('{secret}')",
    "SELECT FiLe.1 FROM (SELECT tuple(file('{secret}')) AS FiLe)",
    "SELECT `file`('{secret}')",
    "SELECT arrayMap(x -> file(x), ['{secret}'])",
    "SELECT arrayMap(file, ['{secret}'])",
    "SELECT * APPLY(file) FROM (SELECT '{secret}')",
    "SELECT * APPLY `file` FROM (SELECT '{secret}')",
    "CREATE FUNCTION stolen AS path -> file(path)",
    "CREATE TABLE made (a String ALIAS file('{secret}')) ENGINE = Memory",
    "INSERT INTO stolen FROM INFILE '{rows}' FORMAT CSV",
    "insert /**/ into stolen from\ninfile '{rows}' COMPRESSION 'none' FORMAT CSV",
    "SELECT * FROM catboostEvaluate('{secret}', 1)",
    # Files, written
    "SELECT 1 INTO OUTFILE '{target}'",
    "select 1 into/**/outfile '{target}' APPEND FORMAT CSV",
    "INSERT INTO FUNCTION file('{target}', CSV, 'a Int32') VALUES (1)",
    "INSERT INTO TABLE FUNCTION file('{target}', CSV, 'a Int32') SELECT 1",
    "CREATE TABLE made (a Int32) ENGINE = File(CSV, '{target}')",
    "CREATE TABLE made (a Int32) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '{target}/')",
    # The network
    "SELECT * FROM url('http://127.0.0.1:{port}/', LineAsString)",
    "INSERT INTO FUNCTION url('http://127.0.0.1:{port}/', CSV, 'a Int32') VALUES (1)",
    "SELECT * FROM urlCluster('default', 'http://127.0.0.1:{port}/', LineAsString)",
    "SELECT * FROM s3('http://127.0.0.1:{port}/bucket/key', NOSIGN, LineAsString)",
    "SELECT * FROM s3Cluster('default', 'http://127.0.0.1:{port}/bucket/key', NOSIGN, LineAsString)",
    "SELECT * FROM gcs('http://127.0.0.1:{port}/bucket/key', NOSIGN, LineAsString)",
    "SELECT * FROM azureBlobStorage('http://127.0.0.1:{port}/x', 'c', 'b', 'a', 'a2V5', LineAsString)",
    "SELECT * FROM iceberg('http://127.0.0.1:{port}/bucket/', NOSIGN)",
    "SELECT * FROM deltaLake('http://127.0.0.1:{port}/bucket/', NOSIGN)",
    "SELECT * FROM hudi('http://127.0.0.1:{port}/bucket/', NOSIGN)",
    "SELECT * FROM hdfs('hdfs://127.0.0.1:{port}/x', LineAsString, 'a String')",
    "SELECT * FROM remote('127.0.0.1:{port}', system.one)",
    "SELECT * FROM remoteSecure('127.0.0.1:{port}', system.one)",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM mysql('127.0.0.1:{port}', 'd', 't', 'u', 'p')",
    "SELECT * FROM postgresql('127.0.0.1:{port}', 'd', 't', 'u', 'p')",
    "SELECT * FROM mongodb('127.0.0.1:{port}', 'd', 't', 'u', 'p', 'a String')",
    "SELECT * FROM redis('127.0.0.1:{port}', 'a', 'a String')",
    "SELECT * FROM odbc('DSN=x', 'd', 't')",
    "SELECT * FROM jdbc('jdbc:x', 'd', 't')",
    "CREATE TABLE made (a String) ENGINE = URL('http://127.0.0.1:{port}/', LineAsString)",
    "CREATE TABLE made (a String) ENGINE = S3('http://127.0.0.1:{port}/bucket/key', NOSIGN, LineAsString)",
    "CREATE TABLE made (a String) ENGINE = PostgreSQL('127.0.0.1:{port}', 'd', 't', 'u', 'p')",
    (
        "CREATE TABLE made (a Int32) ENGINE = MergeTree ORDER BY a "
        "SETTINGS disk = disk(type = web, endpoint = 'http://127.0.0.1:{port}/')"
    ),
    "CREATE DATABASE made ENGINE = Atomic SETTINGS disk = disk(type = web, endpoint = 'http://127.0.0.1:{port}/')",
    # What the engine's own rights refuse
    "CREATE TABLE made (a String) ENGINE = FileLog('{folder}', LineAsString)",
    "CREATE TABLE made (a String) ENGINE = Executable('cat', LineAsString)",
    "CREATE TABLE made (a String) ENGINE = Distributed('default', 'system', 'one')",
    "CREATE TABLE made (a String) ENGINE = Kafka('127.0.0.1:{port}', 't', 'g', 'CSV')",
    "CREATE TABLE made (a String) ENGINE = EmbeddedRocksDB(0, '{target}') PRIMARY KEY a",
    "CREATE TABLE made (a String) ENGINE = `QueryRunner` SETTINGS query = 'SELECT 1'",
    "CREATE DATABASE made ENGINE = Filesystem('{folder}')",
    "CREATE DATABASE made ENGINE = SQLite('{secret}')",
    "CREATE DATABASE made ENGINE = PostgreSQL('127.0.0.1:{port}', 'd', 'u', 'p')",
    "CREATE DATABASE made ENGINE = Backup('default', Disk('default', 'x'))",
    (
        "CREATE DICTIONARY made (a String) PRIMARY KEY a SOURCE(FILE(path '{secret}' format 'CSV')) "
        "LAYOUT(HASHED()) LIFETIME(0)"
    ),
    (
        "CREATE DICTIONARY made (a String) PRIMARY KEY a SOURCE(HTTP(url 'http://127.0.0.1:{port}/' format 'CSV')) "
        "LAYOUT(HASHED()) LIFETIME(0)"
    ),
    "BACKUP TABLE stolen TO Disk('default', 'x')",
    "BACKUP TABLE stolen TO File('{target}')",
    "BACKUP TABLE stolen TO S3('http://127.0.0.1:{port}/bucket/', 'a', 'b')",
    "RESTORE TABLE stolen FROM File('{target}')",
    "CREATE NAMED COLLECTION made AS url = 'http://127.0.0.1:{port}/'",
    "CREATE USER made",
    "GRANT ALL ON *.* TO default",
    "SYSTEM SHUTDOWN",
    "SYSTEM RELOAD USERS",
    "SYSTEM DROP REPLICA 'x'",
]

# What ClickHouse's rights know nothing of, written so that no reader of the statement can tell.
DISGUISED = [
    pytest.param("SELECT * FROM format(Values, 'a String', $$(file('{secret}'))$$)", marks=NEEDS_LANDLOCK),
    pytest.param("SELECT * FROM format(Values, 'a String', concat('(fi', 'le(''{secret}''))'))", marks=NEEDS_LANDLOCK),
    (
        "SELECT * FROM format(Values, 'a String', $$(file('{secret}'))$$) SETTINGS "
        "input_format_values_interpret_expressions = 0"
    ),
    pytest.param(
        "SELECT * FROM format(JSONEachRow, 'a Int32, b String DEFAULT file(''{secret}'')', '{{\"a\": 1}}')",
        marks=NEEDS_LANDLOCK,
    ),
    pytest.param(
        "SELECT * FROM format(JSONEachRow, concat('a Int32, b String DEFAULT fi', 'le(''{secret}'')'), '{{\"a\": 1}}')",
        marks=NEEDS_LANDLOCK,
    ),
    "SELECT * FROM values('a Int32, b String DEFAULT file(''{secret}'')', (1, 'x'))",
    "SELECT * FROM eval('SELECT file(''{secret}'')') SETTINGS allow_experimental_eval_table_function = 1",
    pytest.param("INSERT INTO stolen VALUES (file('{secret}'))", marks=NEEDS_LANDLOCK),
    pytest.param("INSERT INTO stolen VALUES (concat('', `f\\x69le`('{secret}')))", marks=NEEDS_LANDLOCK),
    pytest.param("INSERT INTO stolen FORMAT Values (file('{secret}'))", marks=NEEDS_LANDLOCK),
    "INSERT INTO stolen VALUES ('x'); SELECT file('{secret}')",
    "INSERT INTO stolen VALUES ('x'); SELECT 1 INTO OUTFILE '{target}'",
    "EXPLAIN AST INSERT INTO stolen VALUES ('x'); SELECT 1 INTO OUTFILE '{target}'",
    "SELECT 1; SELECT 1 INTO OUTFILE '{target}'",
    "SELECT 1 SETTINGS additional_result_filter = 'throwIf(1, file(''{secret}''))'",
    "SELECT 1 FROM stolen SETTINGS additional_table_filters = {{'stolen': 'file(''{secret}'') = a'}}",
    "SELECT 1 AS a FORMAT Template SETTINGS format_template_row = '{secret}'",
    "SELECT 1 AS a FORMAT Template SETTINGS format_template_resultset = '{secret}'",
    "SELECT 1 AS a FORMAT Protobuf SETTINGS format_schema = '{secret}:a'",
    "SELECT 1 AS a FORMAT Protobuf SETTINGS output_format_schema = '{target}'",
    "SELECT 'x' AS a FORMAT CapnProto SETTINGS output_format_schema = '{target}'",
    (
        "SELECT * FROM format(CSV, 'a Int32', 'x') SETTINGS input_format_record_errors_file_path = '{target}', "
        "input_format_allow_errors_num = 9"
    ),
    (
        "SELECT * FROM format(AvroConfluent, 'a String', unhex('000000000100')) SETTINGS "
        "format_avro_schema_registry_url = 'http://127.0.0.1:{port}/'"
    ),
    "SELECT * FROM '{secret}'",
    "SELECT * FROM `{rows}`",
    "INSERT INTO `{target}` VALUES (1)",
    "ATTACH TABLE made FROM '{folder}' (a Int32) ENGINE = MergeTree ORDER BY a",
    "SET dialect = 'prql'",
    "SELECT * FROM file('{secret}', 'LineAsString') SETTINGS dialect = 'kusto'",
]


def run(http: httpx.Client, around: Surroundings, statement: str, **parameters: str) -> httpx.Response:
    """Returns the answer to a statement, and checks that nothing on the machine was read or changed."""
    text = statement.format(
        secret=around.secret, rows=around.rows, folder=around.secret.parent, target=around.target, port=around.port
    )
    around.requests.clear()
    answer = http.post("/", content=text, params=parameters)
    stolen = http.post("/", content="SELECT * FROM stolen").text
    assert SECRET not in answer.text
    assert SECRET not in stolen
    assert not around.target.exists()
    assert around.requests == []
    return answer


@pytest.mark.parametrize("statement", NAMED)
@pytest.mark.usefixtures("client")
def test_a_statement_that_names_a_file_or_an_address_is_refused(
    http: httpx.Client, surroundings: Surroundings, statement: str
) -> None:
    answer = run(http, surroundings, statement)
    assert answer.status_code == 500
    assert answer.headers["X-ClickHouse-Exception-Code"] == ACCESS_DENIED, answer.text


@pytest.mark.parametrize("statement", DISGUISED)
@pytest.mark.usefixtures("client")
def test_no_disguise_gets_at_a_file_or_an_address(
    http: httpx.Client, surroundings: Surroundings, statement: str
) -> None:
    run(http, surroundings, statement)


@pytest.mark.parametrize(
    ("parameters", "body"),
    [
        pytest.param({"query": "INSERT INTO stolen FORMAT Values"}, "(file('{secret}'))", marks=NEEDS_LANDLOCK),
        pytest.param({"query": "INSERT INTO stolen VALUES"}, "(file('{secret}'))", marks=NEEDS_LANDLOCK),
        ({"query": "INSERT INTO stolen FORMAT CSV"}, "x\n; SELECT 1 INTO OUTFILE '{target}'"),
        ({"query": "SELECT 1 INTO"}, "OUTFILE '{target}'"),
        ({"query": "SELECT *"}, "FROM file('{secret}', LineAsString)"),
        ({"additional_result_filter": "throwIf(1, file('{secret}'))"}, "SELECT 1"),
        ({"format_template_row": "{secret}"}, "SELECT 1 AS a FORMAT Template"),
        ({"default_format": "Template", "format_template_row": "{secret}"}, "SELECT 1 AS a"),
        ({"format_schema": "{secret}:a"}, "SELECT 1 AS a FORMAT Protobuf"),
        ({"dialect": "kusto"}, "print 1"),
        ({"database": "{folder}"}, "SELECT * FROM secret"),
        ({"database": "default`; SELECT 1 INTO OUTFILE '{target}'; --"}, "SELECT 1"),
        ({"max_threads": "1'; SELECT 1 INTO OUTFILE '{target}'; --"}, "SELECT 1"),
        ({"param_a": "'{secret}'"}, "SELECT * FROM {{a:Identifier}}('x')"),
        ({"param_a": "file"}, "SELECT * FROM {{a:Identifier}}('{secret}', LineAsString)"),
    ],
)
@pytest.mark.usefixtures("client")
def test_no_parameter_of_a_request_gets_at_a_file(
    http: httpx.Client, surroundings: Surroundings, parameters: dict[str, str], body: str
) -> None:
    names = {"secret": surroundings.secret, "target": surroundings.target, "folder": surroundings.secret.parent}
    run(http, surroundings, body, **{name: value.format(**names) for name, value in parameters.items()})


@NEEDS_LANDLOCK
def test_the_environment_of_whoever_starts_the_server_can_not_be_read(http: httpx.Client) -> None:
    read = "SELECT * FROM format(Values, 'a String', $$(file('/proc/PROCESS/environ'))$$)"
    assert SECRET not in http.post("/", content=read.replace("PROCESS", "self")).text
    assert http.post("/", content=read.replace("PROCESS", str(os.getpid()))).status_code == 500


def test_every_engine_of_tables_that_may_be_used_keeps_rows_at_home(client: Client) -> None:
    """Engines that another version adds are refused until somebody has looked at them."""
    known = {name for (name,) in client.query("SELECT name FROM system.table_engines").result_rows}
    assert set(rights.TABLE_ENGINES) - {"Atomic"} <= known
    for name in sorted(known - set(rights.TABLE_ENGINES)):
        with pytest.raises(clickhouse_connect.driver.exceptions.DatabaseError, match="Code: 497"):
            client.command(f"CREATE TABLE made (a String) ENGINE = {name}")


def test_every_setting_that_may_name_a_file_or_an_address_is_fixed(client: Client) -> None:
    """Text settings that another version adds must be looked at too."""
    telling = re.compile(r"path|file(?!system)|schema|url|filter|resultset$|template_row$")
    harmless = {
        "column_names_for_schema_inference",
        "distributed_cache_file_cache_name",
        "exclude_materialize_skip_indexes_on_insert",
        "format_schema_message_name",
        "s3queue_default_zookeeper_path",
        "schema_inference_hints",
        "temporary_files_codec",
        "trace_profile_events_list",
    }
    names = client.query("SELECT name FROM system.settings WHERE type IN ('String', 'Map', 'URI')").result_rows
    texts = {name for (name,) in names if telling.search(name)}
    assert texts - harmless <= set(rights.FIXED_SETTINGS)


# Ordinary use


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 'FROM INFILE ''x''', 'file(1)' -- INTO OUTFILE 'x'",
        "SELECT 1 AS file, 2 AS `into outfile`, tuple(3).1 AS url",
        "SELECT payload.file, payload.url FROM (SELECT CAST('{\"file\": 1}', 'JSON') AS payload)",
        "SELECT arrayJoin(url), arrayConcat([1], file) FROM (SELECT [1] AS url, [2] AS file)",
        "SELECT count() FROM system.tables",
        "SHOW DATABASES",
        "EXPLAIN SELECT 1",
        "CREATE TABLE made (file String, url String) ENGINE = MergeTree ORDER BY (file, url)",
        "CREATE TABLE made (a Int32) ENGINE = Log",
        "CREATE VIEW made AS SELECT 1",
        "INSERT INTO stolen (a) VALUES ('file(1)'), (lower('SELECT'));",
        "INSERT INTO stolen SELECT toString(number) FROM numbers(3)",
        "ALTER TABLE stolen UPDATE a = 'x' WHERE a = 'y'",
        "TRUNCATE TABLE stolen",
        "CREATE DATABASE IF NOT EXISTS other",
        "SELECT 1;",
    ],
)
@pytest.mark.usefixtures("client")
def test_what_clients_ordinarily_do_is_done(http: httpx.Client, statement: str) -> None:
    answer = http.post("/", content=statement)
    assert answer.status_code == 200, answer.text


def test_rows_that_follow_an_insert_in_its_text_are_stored_whatever_they_say(
    client: Client, http: httpx.Client
) -> None:
    inserts = {
        "INSERT INTO stolen VALUES ('a;b'), ('FORMAT CSV'), ('VALUES')": ["FORMAT CSV", "VALUES", "a;b"],
        "insert into stolen settings max_threads = 1 values ('é\\n'' -- ')": ["é\n' -- "],
        'INSERT INTO stolen FORMAT JSONEachRow {"a": "x"}\n{"a": "y"}': ["x", "y"],
        'INSERT INTO `stolen` (`a`) FORMAT CSV\n"x;y"\nz\n': ["x;y", "z"],
    }
    for statement, expected in inserts.items():
        client.command("TRUNCATE TABLE stolen")
        answer = http.post("/", content=statement)
        assert answer.status_code == 200, answer.text
        rows = client.query("SELECT a FROM stolen ORDER BY a").result_rows
        assert [value for (value,) in rows] == expected


def test_tables_of_a_folder_from_before_are_still_there(tmp_path: Path) -> None:
    """Earlier the tables were in chDB's own database `default`, which is also a folder of files."""
    made = chdb.connect(str(tmp_path / "clickhouse"))
    try:
        made.query("CREATE TABLE kept (n Int64) ENGINE = MergeTree ORDER BY n")
        made.query("INSERT INTO kept VALUES (7)")
    finally:
        made.close()
    for _ in range(2):
        with (
            serve_clickhouse(tmp_path, anew=False) as url,
            clickhouse_connect.get_client(dsn=url) as client,
        ):
            assert client.command("SELECT sum(n) FROM kept") == 7
