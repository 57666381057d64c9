"""ClickHouse's engine (chDB) behind ClickHouse's HTTP interface, so that clients need not know the difference.

Run as `python -m infra.local.clickhouse --data FOLDER --port PORT`: the engine lives once in a process.
"""

import argparse
import json
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import chdb
import lz4.frame
from backports import zstd

from infra.local import ports

CHUNK = 1024 * 1024
DATABASE = "default"
DEFAULT_FORMAT = "TabSeparated"

# Of the URL's parameters these are no settings of the engine.
TRANSPORT = {
    "buffer_size",
    "cancel_http_readonly_queries_on_client_close",
    "client_protocol_version",
    "compress",
    "database",
    "decompress",
    "default_format",
    "enable_http_compression",
    "http_headers_progress_interval_ms",
    "password",
    "query",
    "query_id",
    "role",
    "send_progress_in_http_headers",
    "session_id",
    "session_timeout",
    "user",
    "wait_end_of_query",
}

_INSERT = re.compile(rb"\s*INSERT\s+INTO\s.+\sFORMAT\s+\w+[ \t\r]*;?[ \t\r]*", re.IGNORECASE | re.DOTALL)
_ROWS = re.compile(r"(.+?)(\s+SETTINGS\s.+)?\s+FORMAT\s+(\w+)[\s;]*", re.IGNORECASE | re.DOTALL)
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)
_SETTING_NAME = re.compile(r"\w+")
_ERROR_CODE = re.compile(r"Code: (\d+)")


class Request(NamedTuple):
    """What a request asks of the engine: a statement, or an insert whose rows are in a file."""

    statement: str
    rows: Path | None
    parameters: dict[str, str]
    settings: dict[str, str]
    database: str
    default_format: str


def run(path: str, request: Request) -> tuple[bytes, dict[str, str]]:
    """Runs the request on the engine, and returns its answer with the headers that describe it."""
    connection = chdb.connect(path)
    try:
        connection.query(f"USE {_quoted(request.database, '`')}")
        if request.settings:
            connection.query(
                "SET " + ", ".join(f"{name} = {_quoted(value)}" for name, value in request.settings.items())
            )
        if request.rows is not None:
            insert = _ROWS.sub(rf"\1 FROM INFILE {_quoted(str(request.rows))}\2 FORMAT \3", request.statement)
            result = connection.query(insert, "TabSeparated")
            written = {"written_rows": str(result.rows_read()), "written_bytes": str(result.bytes_read())}
            return b"", {"X-ClickHouse-Summary": json.dumps(written)}
        named = _FORMAT.search(request.statement)
        answer_format = named[1] if named else request.default_format
        if answer_format != DEFAULT_FORMAT:
            result = connection.query(request.statement, answer_format, params=request.parameters)
            return result.bytes() or b"", {"X-ClickHouse-Format": answer_format}
        # With their names, a statement that answers with no rows differs from one that answers nothing.
        result = connection.query(request.statement, "TabSeparatedWithNames", params=request.parameters)
        body = result.bytes() or b""
        if named:
            return body, {"X-ClickHouse-Format": answer_format}
        return body.partition(b"\n")[2], {"X-ClickHouse-Format": answer_format} if body else {}
    finally:
        connection.close()


class Handler(BaseHTTPRequestHandler):
    """Answers as ClickHouse's HTTP interface does, as far as its clients use it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "Server"

    def do_GET(self) -> None:
        """Answers `/ping`, or a query in the URL."""
        if urlsplit(self.path).path == "/ping":
            self._answer(200, b"Ok.\n", {})
        else:
            self.do_POST()

    def do_POST(self) -> None:
        """Runs a statement."""
        with tempfile.NamedTemporaryFile(dir=self.server.scratch) as file:
            try:
                answer, headers = run(self.server.data, self._request(Path(file.name), file))
            except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
                self.close_connection = True  # some of the body may be unread
                code = _ERROR_CODE.search(str(error))
                self._answer(500, f"{error}\n".encode(), {"X-ClickHouse-Exception-Code": code[1] if code else "1002"})
            else:
                self._answer(200, answer, headers)

    def log_message(self, *_: Any) -> None:
        """Keeps the log to what goes wrong."""

    def _request(self, path: Path, file: Any) -> Request:
        values = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        chunks = self._chunks()
        if self.headers.get_content_type() == "multipart/form-data":
            values |= _form(self.headers["Content-Type"], b"".join(chunks))
        head = values.get("query", "").encode()
        if not _INSERT.fullmatch(head):
            # The statement is in the body: whole, or in its first line if rows follow it.
            body = next(chunks, b"")
            first_line, newline, rest = body.partition(b"\n")
            if newline and not head and _INSERT.fullmatch(first_line):
                head = first_line
                file.write(rest)
            else:
                head = b"\n".join(filter(None, (head, body + b"".join(chunks))))
                chunks = iter(())
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        settings = {
            name: value for name, value in values.items() if name not in TRANSPORT and not name.startswith("param_")
        }
        for name in settings:
            if not _SETTING_NAME.fullmatch(name):
                raise ValueError(f"Code: 115. {name!r} is no setting")
        return Request(
            statement=head.decode(),
            rows=path if _INSERT.fullmatch(head) else None,
            parameters={
                name.removeprefix("param_"): value for name, value in values.items() if name.startswith("param_")
            },
            settings=settings,
            database=values.get("database") or DATABASE,
            default_format=values.get("default_format") or DEFAULT_FORMAT,
        )

    def _chunks(self) -> Iterator[bytes]:
        """The body, unpacked."""
        encoding = self.headers.get("Content-Encoding", "")
        unpack = _unpacker(encoding)
        for chunk in self._packed_chunks():
            if unpacked := unpack(chunk):
                yield unpacked

    def _packed_chunks(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0 and (chunk := self.rfile.read(min(left, CHUNK))):
            left -= len(chunk)
            yield chunk
        if left > 0:
            raise ConnectionError("The connection ended before the rows did")

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"X-ClickHouse-Timezone": "UTC"} | headers).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    """Serves the engine whose data is in a folder."""

    daemon_threads = True

    def __init__(self, data: Path, port: int) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self.data = str(data)
        self.scratch = data.with_name(f"{data.name}-inserts")
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        self.kept_open = chdb.connect(self.data)  # the engine starts once, not with each request
        super().__init__((ports.HOST, port), Handler)


def _unpacker(encoding: str) -> Any:
    if encoding == "lz4":
        return lz4.frame.LZ4FrameDecompressor().decompress
    if encoding == "zstd":
        return zstd.ZstdDecompressor().decompress
    if encoding == "gzip":
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress
    if encoding == "deflate":
        return zlib.decompressobj().decompress
    if encoding in ("", "identity"):
        return bytes
    raise ValueError(f"Code: 90. The encoding {encoding!r} is not supported")


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """The fields of a form, as which clients send a statement whose parameters are too long for a URL."""
    whole = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body, policy=policy.HTTP)
    return {
        str(part.get_param("name", header="content-disposition")): bytes(part.get_payload(decode=True)).decode()
        for part in whole.iter_parts()
    }


def _quoted(text: str, quote: str = "'") -> str:
    return quote + text.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    arguments = parser.parse_args()
    os.environ["TZ"] = "UTC"
    Server(arguments.data, arguments.port).serve_forever()


if __name__ == "__main__":
    main()
