"""The local ClickHouse server, used through the unchanged ClickHouse client."""

import base64
import gzip
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import clickhouse_connect
import httpx
import lz4.frame
import pytest
from backports import zstd
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from infra.local import ports
from tests.support import plain_http
from tests.support.clickhouse import serve_clickhouse

EVENTS = """
    CREATE TABLE events (id UInt64, name String, payload JSON)
    ENGINE = ReplacingMergeTree ORDER BY id
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve_clickhouse(tmp_path_factory.mktemp("clickhouse")) as url:
        yield url


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    """An HTTP client that knows the password."""
    url = urlsplit(server)
    with plain_http.client(
        base_url=f"http://{url.hostname}:{url.port}",
        auth=(str(url.username), str(url.password)),
        timeout=60,
    ) as http:
        yield http


@pytest.fixture
def client(server: str) -> Iterator[Client]:
    with clickhouse_connect.get_client(dsn=server) as client:
        client.command("DROP TABLE IF EXISTS events")
        client.command(EVENTS)
        yield client


def test_columns_that_are_inserted_are_read_back_with_their_types(client: Client) -> None:
    rows = [[1, "é'\t\n", {"project_id": 4, "a": {"b": [1, 2]}}], [2, "", {}]]
    client.insert("events", rows, column_names=["id", "name", "payload"])
    result = client.query("SELECT id, name, payload FROM events ORDER BY id")
    assert [list(row) for row in result.result_rows] == rows
    assert result.column_names == ("id", "name", "payload")


@pytest.mark.parametrize(
    ("compression", "pack"),
    [(None, bytes), ("gzip", gzip.compress), ("lz4", lz4.frame.compress), ("zstd", zstd.compress)],
)
def test_rows_of_text_are_inserted(client: Client, compression: str | None, pack: Callable[[bytes], bytes]) -> None:
    rows = "".join(f'{number}\tname\t{{"project_id": {number}}}\n' for number in range(1000)).encode()
    client.raw_insert("events", ["id", "name", "payload"], pack(rows), fmt="TabSeparated", compression=compression)
    assert client.command("SELECT count() FROM events WHERE payload.project_id > 1") == 998


def test_rows_are_inserted_as_they_stream_in(client: Client) -> None:
    rows = (f'{number}\tname\t{{"project_id": {number}}}\n'.encode() for number in range(1000))
    client.raw_insert("events", ["id", "name", "payload"], rows, fmt="TabSeparated")
    assert client.command("SELECT count() FROM events WHERE payload.project_id > 1") == 998


@pytest.mark.parametrize("compress", [True, False, "gzip", "lz4", "zstd"])
def test_a_client_may_compress_as_it_likes(server: str, client: Client, compress: bool | str) -> None:
    with clickhouse_connect.get_client(dsn=server, compress=compress) as other:
        other.insert(
            "events", [[number, "x" * 100, {"n": number}] for number in range(5000)], ["id", "name", "payload"]
        )
        assert other.query("SELECT sum(id) FROM events").result_rows == [(12_497_500,)]


@pytest.mark.parametrize(
    ("statement", "parameters", "answer"),
    [
        ("SELECT {number:Int64} + 1", {"number": 41}, 42),
        ("SELECT {text:String}", {"text": "it's a\ttab\nand \\"}, "it's a\ttab\nand \\"),
        ("SELECT {id:UUID}", {"id": UUID(int=7)}, UUID(int=7)),
        ("SELECT sum(number) FROM numbers(10) WHERE number IN {numbers:Array(UInt64)}", {"numbers": [2, 3]}, 5),
        ("SELECT %(number)s + 1", {"number": 41}, 42),
    ],
)
def test_a_query_takes_parameters(
    client: Client, statement: str, parameters: dict[str, object], answer: object
) -> None:
    assert client.query(statement, parameters=parameters).result_rows == [(answer,)]


def test_a_query_takes_parameters_that_are_too_long_for_a_url(client: Client) -> None:
    numbers = list(range(10_000))
    text = "é'\"\r\n--\t\\%{} \U0001f600" * 1000
    parameters = {"numbers": numbers, "text": text}
    result = client.query("SELECT {numbers:Array(UInt64)}, {text:String}, 1", parameters=parameters)
    assert result.result_rows == [(numbers, text, 1)]


def test_settings_hold_for_their_query_alone(client: Client) -> None:
    read = "SELECT value FROM system.settings WHERE name = 'max_block_size'"
    before = client.query(read).result_rows
    assert client.query(read, settings={"max_block_size": 1234}).result_rows == [("1234",)]
    assert client.query(read).result_rows == before


@pytest.mark.parametrize(
    ("statement", "left"),
    [
        ("SET max_block_size = 1234", "SELECT 1 FROM system.settings WHERE name = 'max_block_size' AND value = '1234'"),
        ("CREATE TEMPORARY TABLE left (id UInt8)", "SELECT 1 FROM system.tables WHERE is_temporary"),
        ("USE system", "SELECT 1 WHERE currentDatabase() = 'system'"),
    ],
)
def test_a_statement_leaves_nothing_to_those_that_follow(client: Client, statement: str, left: str) -> None:
    assert client.query(left).result_rows == []
    client.command(statement)
    assert client.query(left).result_rows == []


def test_settings_of_an_insert_are_obeyed(client: Client) -> None:
    client.raw_insert(
        "events",
        ["id", "payload"],
        b'1\t{"a.b": "2026-11-20"}\n',
        settings={
            "input_format_try_infer_dates": 0,
            "input_format_try_infer_datetimes": 0,
            "json_type_escape_dots_in_keys": 1,
        },
        fmt="TabSeparated",
    )
    kinds = client.query("SELECT dynamicType(payload.`a%2Eb`) FROM events").result_rows
    assert kinds == [("String",)]


@pytest.mark.parametrize(
    ("statement", "code"),
    [("SELECT * FROM no_such_table", "60"), ("SELEC 1", "62"), ("SELECT no_such_column FROM events", "47")],
)
def test_a_statement_that_fails_says_so_with_its_code(
    client: Client, http: httpx.Client, statement: str, code: str
) -> None:
    with pytest.raises(DatabaseError, match=f"code {code}|Code: {code}"):
        client.query(statement)
    answer = http.post("/", content=statement)
    assert answer.status_code >= 400
    assert answer.headers["X-ClickHouse-Exception-Code"] == code
    assert f"Code: {code}" in answer.text


def test_an_insert_that_fails_inserts_nothing_and_the_server_goes_on(client: Client) -> None:
    with pytest.raises(DatabaseError):
        client.raw_insert("events", ["id"], b"1\nnonsense\n", fmt="TabSeparated")
    assert client.command("SELECT count() FROM events") == 0


def test_an_insert_that_breaks_off_inserts_nothing(client: Client, server: str) -> None:
    url = urlsplit(server)
    credentials = base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
    with socket.create_connection((str(url.hostname), int(url.port or 0))) as connection:
        connection.sendall(
            b"POST /?query=INSERT+INTO+events+(id)+FORMAT+TabSeparated HTTP/1.1\r\n"
            + f"Host: {url.hostname}:{url.port}\r\nAuthorization: Basic {credentials}\r\n".encode()
            + b"Content-Length: 100\r\n\r\n1\n2\n"
        )
        connection.shutdown(socket.SHUT_WR)
        assert b" 500 " in connection.recv(1000)
    assert client.command("SELECT count() FROM events") == 0


def test_statements_in_the_url_and_in_the_body_are_the_same(client: Client, http: httpx.Client) -> None:
    assert client.ping()
    assert http.get("/ping").text == "Ok.\n"
    assert http.get("/", params={"query": "SELECT 1"}).text == "1\n"
    assert http.post("/", content="SELECT 1").text == "1\n"
    assert http.post("/", params={"query": "SELECT"}, content="1").text == "1\n"
    assert http.post("/", params={"query": "INSERT INTO events (id) FORMAT TabSeparated"}, content="5\n").text == ""
    assert http.post("/", content="INSERT INTO events (id) VALUES (6), (7)").text == ""
    insert = "insert into events (id) settings max_insert_threads = 1 format TabSeparated;"
    assert http.post("/", params={"query": insert}, content="8\n").text == ""
    assert http.post("/", content="SELECT id FROM events ORDER BY id FORMAT JSONEachRow").text == (
        '{"id":5}\n{"id":6}\n{"id":7}\n{"id":8}\n'
    )
    assert http.post("/", params={"default_format": "CSV"}, content="SELECT 'a', 1").text == '"a",1\n'
    assert http.post("/", content="SELECT 1 FORMAT TabSeparated").text == "1\n"


def test_many_clients_at_once_are_answered(client: Client, server: str) -> None:
    def insert(number: int) -> None:
        with clickhouse_connect.get_client(dsn=server) as own:
            own.insert("events", [[number, "", {}]], column_names=["id", "name", "payload"])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(insert, range(40)))
    assert client.command("SELECT count() FROM events") == 40


def test_what_is_stored_outlives_the_server(tmp_path: Path) -> None:
    for expected in (0, 1):
        with serve_clickhouse(tmp_path, anew=expected == 0) as url, clickhouse_connect.get_client(dsn=url) as client:
            client.command("CREATE TABLE IF NOT EXISTS kept (n Int64) ENGINE = MergeTree ORDER BY n")
            assert client.command("SELECT count() FROM kept") == expected
            client.insert("kept", [[1]], column_names=["n"])


def test_a_port_that_another_takes_before_the_server_is_up_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((ports.HOST, 0)) as other:
        free, taken = ports.free, [other.getsockname()[1]]  # which was free when one looked
        monkeypatch.setattr(ports, "free", lambda: taken.pop() if taken else free())
        with serve_clickhouse(tmp_path) as url, clickhouse_connect.get_client(dsn=url) as client:
            assert client.command("SELECT 1") == 1
            assert taken == []
