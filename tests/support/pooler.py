"""A stand-in for a pooler like PgBouncer or RDS Proxy: refuses startup options, and shares a few connections.

The pooler knows only as much of PostgreSQL's protocol as shows where a message and a transaction end:
https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import os
import re
import secrets
import select
import selectors
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from psycopg.pq import ConnStatus, PGconn, abc

type Mode = Literal["session", "transaction"]

# What PgBouncer takes of a client, and keeps for it: https://www.pgbouncer.org/config.html#ignore_startup_parameters
TRACKED = ("client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings", "application_name")
TAKEN = {"user", "database", *(name.lower() for name in TRACKED)}
REPORTED = (*TRACKED, "server_version", "server_encoding", "integer_datetimes", "IntervalStyle", "is_superuser")

# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-proxy-pinning.html
PINS = re.compile(
    r"(?:^|;)\s*(?:SET (?!TRANSACTION)|RESET|PREPARE|EXECUTE|DEALLOCATE|DISCARD|DECLARE|LISTEN|LOAD)\w*"
    r"|\b(?:nextval|setval|set_config|pg(?:_try)?_advisory_(?:un)?lock(?:_shared|_all)?)\(",
    re.IGNORECASE,
)
MAX_UNPINNED_BYTES = 16 * 1024

# A temporary table pins too, and with PgBouncer stays on a connection that serves other clients next.
TEMPORARY = re.compile(r"\bCREATE\s+(?:(?:LOCAL|GLOBAL)\s+)?TEMP\w*|\bINTO\s+TEMP\w*", re.IGNORECASE)

_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102
_CONNECTIONS: dict[Mode, int] = {"session": 8, "transaction": 2}


def _message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


@dataclass(eq=False)
class _Server:
    """A connection of the pool to the server."""

    handle: abc.PGconn
    socket: socket.socket
    reported: dict[str, str]

    @classmethod
    def connected(cls, url: str) -> "_Server":
        handle = PGconn.connect(url.encode())
        assert handle.status == ConnStatus.OK, handle.error_message
        reported = {name: (handle.parameter_status(name.encode()) or b"").decode() for name in REPORTED}
        own = socket.socket(fileno=os.dup(handle.socket))
        own.settimeout(None)  # waits, as libpq's does not
        return cls(handle, own, reported)

    @property
    def is_there(self) -> bool:
        """Whether the idle connection is still open."""
        return not select.select([self.socket], [], [], 0)[0]

    def execute(self, statement: str) -> None:
        """Executes a statement and ignores its result.

        Raises:
            ConnectionError: the server closed the connection.
        """
        self.socket.sendall(_message(b"Q", statement.encode() + b"\0"))
        while True:
            kind, body = read_message(self.socket)
            if kind == b"E":
                raise ConnectionError(body)
            if kind == b"S":
                self.note(body)
            if kind == b"Z":
                return

    def note(self, body: bytes) -> None:
        name, value = body.split(b"\0")[:2]
        self.reported[name.decode()] = value.decode()

    def close(self) -> None:
        self.socket.close()
        self.handle.finish()


def read_exactly(connection: socket.socket, size: int) -> bytes:
    """Reads exactly `count` bytes.

    Raises:
        ConnectionError: the other side closed the connection.
    """
    read = b""
    while len(read) < size:
        some = connection.recv(size - len(read))
        if not some:
            raise ConnectionError
        read += some
    return read


def read_message(connection: socket.socket) -> tuple[bytes, bytes]:
    """Reads the next message; returns its kind and content."""
    kind, length = struct.unpack("!ci", read_exactly(connection, 5))
    return kind, read_exactly(connection, length - 4)


class Pooler:
    """Listens on a free port, and serves each client in a thread.

    Attributes:
        refused: startup parameters, and statements that make temporary tables, for which clients were refused.
        transactions: number of transactions of all clients.
        pinned: why RDS Proxy would have kept a connection for one client from then on.
    """

    def __init__(self, url: str, mode: Mode) -> None:
        self._url = url
        self._mode = mode
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._idle: deque[_Server] = deque()
        self._free = threading.Condition()
        self._count = 0
        self._serving: dict[bytes, _Server | None] = {}
        self._clients: set[socket.socket] = set()
        self.refused: list[str] = []
        self.transactions = 0
        self.pinned: list[str] = []

    @property
    def url(self) -> str:
        """URL for clients."""
        parts = urlsplit(self._url)
        credentials, at, _ = parts.netloc.rpartition("@")
        port = self._listener.getsockname()[1]
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{port}"))

    def serve(self) -> None:
        """Accepts clients until the pooler is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._clients.add(client)
                threading.Thread(target=self._welcome, args=[client], daemon=True).start()

    def close(self) -> None:
        """Closes the pooler and all connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in list(self._clients):
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        while self._idle:
            self._idle.popleft().close()

    def _welcome(self, client: socket.socket) -> None:
        with closing(client), suppress(ConnectionError, OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                (length,) = struct.unpack("!i", read_exactly(client, 4))
                body = read_exactly(client, length - 4)
                (code,) = struct.unpack("!i", body[:4])
                if code not in (_SSL, _GSS):
                    break
                client.sendall(b"N")
            if code == _CANCEL:
                server = self._serving.get(body[4:])
                if server is not None:
                    server.handle.get_cancel().cancel()
            else:
                self._start(client, body[4:])
        self._clients.discard(client)

    def _start(self, client: socket.socket, body: bytes) -> None:
        texts = [text.decode() for text in body.rstrip(b"\0").split(b"\0")]
        parameters = dict(zip(texts[::2], texts[1::2], strict=True))
        unsupported = [name for name in parameters if name.lower() not in TAKEN]
        if unsupported:
            self.refused += unsupported
            said = f"unsupported startup parameter: {unsupported[0]}"
            client.sendall(_message(b"E", f"SFATAL\0VFATAL\0C08P01\0M{said}\0\0".encode()))
            return
        with self._borrowed(None) as server:
            own = {**server.reported}
        given = {name.lower(): value for name, value in parameters.items()}
        own |= {name: given[name.lower()] for name in TRACKED if name.lower() in given}
        key = secrets.token_bytes(8)
        reported = b"".join(_message(b"S", f"{name}\0{value}\0".encode()) for name, value in own.items())
        client.sendall(_message(b"R", struct.pack("!i", 0)) + reported + _message(b"K", key) + _message(b"Z", b"I"))
        try:
            self._relay(client, key, own)
        finally:
            self._serving.pop(key, None)

    def _relay(self, client: socket.socket, key: bytes, own: dict[str, str]) -> None:
        while True:
            first = read_message(client)
            if first[0] == b"X":
                return
            with self._borrowed(own) as server:
                self._serving[key] = server
                note = partial(self._note, has_sessions=self._mode == "session")
                if not _relayed(client, server, first, own, note, stays=self._mode == "session"):
                    return
                self._serving[key] = None

    def _note(self, kind: bytes, body: bytes, *, has_sessions: bool) -> None:
        """Notes why RDS Proxy would pin the client's session because of a message.

        Raises:
            ConnectionError: the message would leave a temporary table to other clients.
        """
        if kind not in (b"Q", b"P"):
            return
        name, _, rest = body.partition(b"\0") if kind == b"P" else (b"", b"", body)
        statement = rest.partition(b"\0")[0].decode()
        temporary = [found[0] for found in TEMPORARY.finditer(statement)]
        if temporary and not has_sessions:
            self.refused += temporary
            raise ConnectionError(temporary)
        if name:
            self.pinned.append(f"prepared statement {name.decode()}")
        if len(statement) > MAX_UNPINNED_BYTES:
            self.pinned.append(f"a statement of {len(statement):,} bytes")
        self.pinned += temporary + [found[0] for found in PINS.finditer(statement)]

    @contextmanager
    def _borrowed(self, own: dict[str, str] | None) -> Iterator[_Server]:
        """Yields another connection than last time, with the client's parameters; closes it within a transaction."""
        with self._free:
            for gone in [server for server in self._idle if not server.is_there]:
                self._idle.remove(gone)
                gone.close()
                self._count -= 1
            if self._count < _CONNECTIONS[self._mode]:
                self._count += 1
                server = _Server.connected(self._url)
            else:
                self._free.wait_for(lambda: self._idle)
                server = self._idle.popleft()
            self.transactions += 1
        is_clean = False
        try:
            for name in TRACKED if own else ():
                if own and server.reported[name] != own[name]:
                    server.execute(f"SET {name} = '{own[name]}'")
            yield server
            if self._mode == "session":
                server.execute("DISCARD ALL")
            is_clean = True
        finally:
            with self._free:
                if is_clean:
                    self._idle.append(server)
                else:
                    server.close()
                    self._count -= 1
                self._free.notify()


def _relayed(
    client: socket.socket,
    server: _Server,
    first: tuple[bytes, bytes],
    own: dict[str, str],
    note: Callable[[bytes, bytes], None],
    *,
    stays: bool,
) -> bool:
    """Relays messages both ways until a transaction ends; returns whether the client is still connected.

    Args:
        note: called with each message of the client.
        stays: whether to relay until the client disconnects.

    Raises:
        ConnectionError: a side closed the connection within a transaction.
    """
    note(*first)
    server.socket.sendall(_message(*first))
    is_idle = False
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ)
        selector.register(server.socket, selectors.EVENT_READ)
        while True:
            for ready, _ in selector.select():
                if ready.fileobj is client:
                    try:
                        kind, body = read_message(client)
                    except ConnectionError:
                        kind, body = b"X", b""
                    if kind == b"X":
                        if is_idle:
                            return False
                        raise ConnectionError
                    is_idle = False
                    note(kind, body)
                    server.socket.sendall(_message(kind, body))
                    continue
                kind, body = read_message(server.socket)
                if kind == b"S":
                    server.note(body)
                    name, value = body.split(b"\0")[:2]
                    if name.decode() in TRACKED:
                        own[name.decode()] = value.decode()
                client.sendall(_message(kind, body))
                if kind == b"Z" and body == b"I":
                    is_idle = True
                    if not stays:
                        return True


@contextmanager
def pooler(url: str, mode: Mode) -> Iterator[Pooler]:
    """Runs a pooler before the database at `url`."""
    one = Pooler(url, mode)
    thread = threading.Thread(target=one.serve, daemon=True)
    thread.start()
    try:
        yield one
    finally:
        one.close()
        thread.join()
