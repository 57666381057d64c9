"""Runs each request on a connection to the engine that no other request has meanwhile."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import chdb
from chdb.state.sqlitelike import Connection

from infra.local.clickhouse import rights, statement
from infra.local.clickhouse.literals import quoted

DEFAULT_FORMAT = "TabSeparated"
MAX_STATEMENT_BYTES = (
    1024 * 1024 * 1024
)  # limit for reading a statement; the engine's own limit still applies to running it

MAX_KEPT_CONNECTIONS = 8  # to open and set up a connection takes a quarter of the time of a short query

_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)


class Request(NamedTuple):
    """A request to the engine: a statement, or an insert whose rows are in a file.

    Attributes:
        leaves_session: whether the connection is the same afterwards, for another request with these settings.
    """

    statement: str
    leaves_session: bool
    insert: statement.Insert | None
    rows: Path
    parameters: dict[str, str]
    settings: dict[str, str]
    database: str
    default_format: str


class Engine:
    """The engine on a data folder."""

    def __init__(self, data: Path, configuration: Path) -> None:
        self._path = f"{data}?config-file={configuration}"
        self._one_at_a_time = Lock()
        self._keeping = Lock()
        self._kept: dict[tuple[str, ...], Connection] = {}  # by the database and the settings, the latest at the end
        self._reader = chdb.connect(self._path)  # also keeps the engine running between requests
        self._reader.query(f"SET max_query_size = {MAX_STATEMENT_BYTES}")

    def ask(self, query: str) -> str:
        """Runs a query about a statement with default settings, and returns the answer."""
        with self._one_at_a_time:
            return str(self._reader.query(query, "TSVRaw").bytes().decode()).removesuffix("\n")

    def run(self, request: Request) -> tuple[bytes, dict[str, str]]:
        """Runs the request, and returns the answer with the headers that describe it."""
        with self._connection(request) as connection:
            if request.insert is not None:
                result = connection.query(request.insert.from_file(str(request.rows)), "TabSeparated")
                written = {"written_rows": str(result.rows_read()), "written_bytes": str(result.bytes_read())}
                return b"", {"X-ClickHouse-Summary": json.dumps(written)}
            return _answer(connection, request)

    @contextmanager
    def _connection(self, request: Request) -> Iterator[Connection]:
        """Yields a connection with the request's database and settings; closes it if the request fails or sets more."""
        key = (request.database, *(part for setting in request.settings.items() for part in setting))
        with self._keeping:
            kept = self._kept.pop(key, None)
        connection = kept or self._connect(request.database, request.settings)
        is_as_before = False
        try:
            yield connection
            is_as_before = request.leaves_session
        finally:
            if is_as_before:
                self._keep(key, connection)
            else:
                connection.close()

    def _connect(self, database: str, settings: Mapping[str, str]) -> Connection:
        connection: Connection = chdb.connect(self._path)
        try:
            connection.query(f"USE {quoted(database, '`')}")
            if settings:
                values = (f"{name} = {quoted(value)}" for name, value in settings.items())
                connection.query(f"SET {', '.join(values)}")
        except Exception:
            connection.close()
            raise
        return connection

    def _keep(self, key: tuple[str, ...], connection: Connection) -> None:
        with self._keeping:
            surplus = [self._kept.pop(key, None)]
            self._kept[key] = connection
            if len(self._kept) > MAX_KEPT_CONNECTIONS:
                surplus.append(self._kept.pop(next(iter(self._kept))))
        for one in surplus:
            if one is not None:
                one.close()


def start(data: Path, scratch: Path) -> Engine:
    """Returns the engine on the data folder that `rights.make_folders` made."""
    return Engine(data, rights.configure(scratch))


def _answer(connection: Connection, request: Request) -> tuple[bytes, dict[str, str]]:
    named = _FORMAT.search(request.statement)
    answer_format = named[1] if named else request.default_format
    if answer_format != DEFAULT_FORMAT:
        result = connection.query(request.statement, answer_format, params=request.parameters)
        return result.bytes() or b"", {"X-ClickHouse-Format": answer_format}
    # The header line of names distinguishes a statement without rows from one without an answer.
    result = connection.query(request.statement, "TabSeparatedWithNames", params=request.parameters)
    body = result.bytes() or b""
    if named:
        return body, {"X-ClickHouse-Format": answer_format}
    return body.partition(b"\n")[2], {"X-ClickHouse-Format": answer_format} if body else {}
