"""A proxy before the real ClickHouse that gives the answers that only a cluster can give."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl, urlsplit


@dataclass(slots=True)
class Failure:
    """An insert that ends with an error.

    Attributes:
        code: ClickHouse's error number.
        stored: whether the rows are stored despite the error.
    """

    code: int
    stored: bool


@dataclass(slots=True)
class Front:
    """Script and record of the proxy.

    Attributes:
        failures: one for each of the next inserts.
        refused: error number for other requests, by a text that they contain.
        engine_prefix: text put before the name of the table's engine in answers.
        inserts: the parameters of each insert.
        statements: the bodies of all other requests.
    """

    url: str
    failures: list[Failure] = field(default_factory=list)
    refused: dict[bytes, int] = field(default_factory=dict)
    engine_prefix: str = "Replicated"
    inserts: list[dict[str, str]] = field(default_factory=list)
    statements: list[bytes] = field(default_factory=list)


@contextmanager
def serve_front(clickhouse_url: str) -> Iterator[Front]:
    """Runs a proxy of the server at `clickhouse_url` on a free port."""
    behind = urlsplit(clickhouse_url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self._body()
            parameters = dict(parse_qsl(urlsplit(self.path).query))
            is_insert = parameters.get("query", "").startswith("INSERT") or body.startswith(b"INSERT")
            failure = None
            if is_insert:
                front.inserts.append(parameters)
                failure = front.failures.pop(0) if front.failures else None
            else:
                front.statements.append(body)
                codes = [code for text, code in front.refused.items() if text in body]
                failure = Failure(codes[0], stored=False) if codes else None
                renamed = f"SELECT '{front.engine_prefix}' || engine AS engine,"
                body = body.replace(b"SELECT engine,", renamed.encode())
            if failure is None or failure.stored:
                self._pass_on(body, answers=failure is None)
            if failure is not None:
                headers = {"X-ClickHouse-Exception-Code": str(failure.code)}
                self._answer(500, headers, f"Code: {failure.code}. DB::Exception: of the cluster".encode())

        def do_GET(self) -> None:
            self.do_POST()

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def _pass_on(self, body: bytes, *, answers: bool) -> None:
            connection = HTTPConnection(str(behind.hostname), behind.port)
            not_passed = ("host", "content-length", "transfer-encoding")
            headers = {name: value for name, value in self.headers.items() if name.lower() not in not_passed}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            content = response.read()
            connection.close()
            if answers:
                own = {name: value for name, value in response.getheaders() if name.lower() not in not_passed}
                self._answer(response.status, own, content)

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    front = Front(clickhouse_url.replace(f":{behind.port}/", f":{server.server_port}/"))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
