"""A front that speaks TLS for a PostgreSQL server that was built without it, and certificates for the front."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from infra.local import ports

SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


@dataclass(frozen=True)
class Authority:
    """A certificate authority that a test made.

    Attributes:
        certificate: file with the certificate of the authority.
    """

    key: ec.EllipticCurvePrivateKey
    name: x509.Name
    certificate: Path

    @classmethod
    def made_in(cls, folder: Path, name: str) -> "Authority":
        """Makes an authority with a key of its own."""
        key, subject = ec.generate_private_key(ec.SECP256R1()), _name(name)
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        certificate = _builder(key, subject, subject).add_extension(constraints, critical=True)
        file = folder / f"{name}.pem"
        file.write_bytes(certificate.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return cls(key, subject, file)

    def server(self, folder: Path, host: str) -> ssl.SSLContext:
        """Returns what a server of this authority needs to serve under a host name or address."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            name: x509.GeneralName = x509.IPAddress(ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        named = _builder(key, _name(host), self.name).add_extension(x509.SubjectAlternativeName([name]), critical=False)
        file = folder / "server.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(private + named.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


@contextmanager
def tls_front(url: str, context: ssl.SSLContext | None) -> Iterator[str]:
    """Serves a PostgreSQL server over TLS, or answers that it speaks none; yields the URL of the front."""
    parts = urlsplit(url)
    server = (str(parts.hostname), int(parts.port or 0))
    with socket.create_server((ports.HOST, 0)) as listening:
        threading.Thread(target=_serve, args=(listening, server, context), daemon=True).start()
        login = parts.netloc.rpartition("@")[0]
        yield parts._replace(netloc=f"{login}@{ports.HOST}:{listening.getsockname()[1]}").geturl()
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket, server: tuple[str, int], context: ssl.SSLContext | None) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_pass_on, args=(client, server, context), daemon=True).start()


def _pass_on(client: socket.socket, server: tuple[str, int], context: ssl.SSLContext | None) -> None:
    with suppress(OSError, ssl.SSLError), client, socket.create_connection(server) as upstream:
        if client.recv(len(SSL_REQUEST), socket.MSG_PEEK) == SSL_REQUEST:
            client.recv(len(SSL_REQUEST))
            client.sendall(b"N" if context is None else b"S")
            if context is not None:
                client = context.wrap_socket(client, server_side=True)
        back = threading.Thread(target=_copy, args=(upstream, client), daemon=True)
        back.start()
        _copy(client, upstream)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError, ssl.SSLError):
        while received := source.recv(65_536):
            target.sendall(received)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _builder(key: ec.EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )
