"""Runs each request on a connection of its own to the engine."""

import json
import re
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

_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)


class Request(NamedTuple):
    """A request to the engine: a statement, or an insert whose rows are in a file."""

    statement: str
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
        self._reader = chdb.connect(self._path)  # also keeps the engine running between requests
        self._reader.query(f"SET max_query_size = {MAX_STATEMENT_BYTES}")

    def ask(self, query: str) -> str:
        """Runs a query about a statement with default settings, and returns the answer."""
        with self._one_at_a_time:
            return str(self._reader.query(query, "TSVRaw").bytes().decode()).removesuffix("\n")

    def run(self, request: Request) -> tuple[bytes, dict[str, str]]:
        """Runs the request, and returns the answer with the headers that describe it."""
        connection = chdb.connect(self._path)
        try:
            connection.query(f"USE {quoted(request.database, '`')}")
            if request.settings:
                connection.query(
                    "SET " + ", ".join(f"{name} = {quoted(value)}" for name, value in request.settings.items())
                )
            if request.insert is not None:
                result = connection.query(request.insert.from_file(str(request.rows)), "TabSeparated")
                written = {"written_rows": str(result.rows_read()), "written_bytes": str(result.bytes_read())}
                return b"", {"X-ClickHouse-Summary": json.dumps(written)}
            return _answer(connection, request)
        finally:
            connection.close()


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
