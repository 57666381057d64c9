"""Serves the part of ClickHouse's HTTP interface that its clients use, with access control."""

import re
import tempfile
import zlib
from collections.abc import Iterator
from email import message_from_bytes, policy
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import lz4.frame
from backports import zstd

from infra.local import ports
from infra.local.clickhouse import access, engine, statement
from infra.local.clickhouse.engine import DEFAULT_FORMAT, Request
from infra.local.clickhouse.rights import DATABASE

CHUNK = 1024 * 1024
MAX_KEPT_STATEMENTS = 1000  # most statements are sent again with other parameters
MAX_KEPT_CHARACTERS = 32 * 1024  # of a statement
AUTHENTICATION_FAILED, ACCESS_DENIED = 516, 497

# URL parameters that are not settings of the engine.
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
_SETTING_NAME = re.compile(r"\w+")
_ERROR_CODE = re.compile(r"Code: (\d+)")


class Handler(BaseHTTPRequestHandler):
    """Answers requests like ClickHouse's HTTP interface."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "Server"

    def do_GET(self) -> None:
        """Answers `/ping`, or a query in the URL."""
        if urlsplit(self.path).path == "/ping" and not access.is_foreign(self.headers, self.server.server_port):
            self._answer(200, b"Ok.\n", {})
        else:
            self.do_POST()

    def do_POST(self) -> None:
        """Runs a statement."""
        values = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        if access.is_foreign(self.headers, self.server.server_port):
            self._fail(403, "Web pages and host names of other sites may not use the local ClickHouse.", ACCESS_DENIED)
        elif not access.is_known(self.headers, values, self.server.password):
            self._fail(
                401,
                "Authentication failed: the password is incorrect, or there is no such user. (AUTHENTICATION_FAILED)",
                AUTHENTICATION_FAILED,
            )
        else:
            self._run(values)

    def log_message(self, *_: Any) -> None:
        """Logs no requests; errors are logged elsewhere."""

    def _run(self, values: dict[str, str]) -> None:
        with tempfile.NamedTemporaryFile(dir=self.server.scratch) as file:
            try:
                answer, headers = self.server.engine.run(self._request(values, Path(file.name), file))
            except Exception as error:  # noqa: BLE001 - every error is reported to the client
                self.close_connection = True  # some of the body may be unread
                code = _ERROR_CODE.search(str(error))
                self._answer(500, f"{error}\n".encode(), {"X-ClickHouse-Exception-Code": code[1] if code else "1002"})
            else:
                self._answer(200, answer, headers)

    def _request(self, values: dict[str, str], path: Path, file: Any) -> Request:
        chunks = self._chunks()
        if self.headers.get_content_type() == "multipart/form-data":
            values = values | _form(self.headers["Content-Type"], b"".join(chunks))
        settings = {
            name: value for name, value in values.items() if name not in TRANSPORT and not name.startswith("param_")
        }
        for name in settings:
            if not _SETTING_NAME.fullmatch(name):
                raise ValueError(f"Code: 115. {name!r} is not a setting")
        text, printed, insert = self._statement(values.get("query", "").encode(), chunks, file)
        file.flush()
        return Request(
            statement=text,
            leaves_session=statement.leaves_session(printed),
            insert=insert,
            rows=path,
            parameters={
                name.removeprefix("param_"): value for name, value in values.items() if name.startswith("param_")
            },
            settings=settings,
            database=values.get("database") or DATABASE,
            default_format=values.get("default_format") or DEFAULT_FORMAT,
        )

    def _statement(self, head: bytes, chunks: Iterator[bytes], file: Any) -> tuple[str, str, statement.Insert | None]:
        """Returns the statement, as the engine prints it too, and how to insert an insert's rows, written to the file.

        Raises:
            Refused: the statement is not allowed or can't be parsed.
        """
        body = next(chunks, b"")
        candidate, rows = head, body
        if not head:  # the statement is the body, or the first line of the body if rows follow
            candidate, _, rows = body.partition(b"\n")
        if _INSERT.fullmatch(candidate):
            text = candidate.rstrip(b"; \t\r").decode()  # a semicolon may end a statement whose rows are elsewhere
            printed = self.server.printed(text)
            if insert := statement.parse_insert(printed):
                file.write(rows)
                file.writelines(chunks)
                return text, printed, insert
        text = (head + b"\n" * bool(head) + body + b"".join(chunks)).decode()
        printed = self.server.printed(text)
        insert = statement.parse_insert(printed)
        if insert:
            file.write(statement.inline_rows(text, printed, self.server.engine.ask).encode())
        return text, printed, insert

    def _chunks(self) -> Iterator[bytes]:
        """Yields the decompressed body."""
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
            raise ConnectionError("The connection ended before the end of the body")

    def _fail(self, status: int, reason: str, code: int) -> None:
        """Answers with an error without reading the body."""
        self.close_connection = True
        headers = {"X-ClickHouse-Exception-Code": str(code)}
        if status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        self._answer(status, f"Code: {code}. DB::Exception: {reason}\n".encode(), headers)

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
    """HTTP server of the engine on a data folder."""

    daemon_threads = True

    def __init__(self, data: Path, scratch: Path, port: int, password: str) -> None:
        self.scratch = scratch
        self.password = password
        self.engine = engine.start(data, scratch)
        self._print_once = lru_cache(MAX_KEPT_STATEMENTS)(self._print)
        super().__init__((ports.HOST, port), Handler)

    def printed(self, text: str) -> str:
        """Returns an allowed statement as the engine prints it, which takes as long as a short query.

        Raises:
            Refused: the statement is not allowed or can't be parsed.
        """
        return self._print_once(text) if len(text) <= MAX_KEPT_CHARACTERS else self._print(text)

    def _print(self, text: str) -> str:
        printed = statement.parse(text, self.engine.ask)
        statement.require_allowed(printed)
        return printed


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
    """Parses a form; clients send long parameters of a statement as a form instead of in the URL."""
    whole = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body, policy=policy.HTTP)
    return {
        str(part.get_param("name", header="content-disposition")): bytes(part.get_payload(decode=True)).decode()
        for part in whole.iter_parts()
    }
