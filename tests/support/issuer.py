"""An issuer of tokens: a server on this machine that publishes keys, and signs with those that it keeps."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from functions.shared.auth import Authenticator
from functions.shared.settings import AuthSettings

AUDIENCE = "events"
NAME = "issuer"


def public_key(private: ec.EllipticCurvePrivateKey, key_id: str) -> dict[str, Any]:
    """The key as an issuer publishes it."""
    return ECAlgorithm.to_jwk(private.public_key(), as_dict=True) | {"kid": key_id, "use": "sig"}


class Issuer(ThreadingHTTPServer):
    """A server that publishes a key.

    Attributes:
        private: what it signs with.
        published: its keys; the first one is called `first`.
        fault: status and content of what it answers instead; no status where it ends the connection.
        requests: how often it was asked.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.published = [public_key(self.private, "first")]
        self.fault: tuple[int | None, bytes] | None = None
        self.requests = 0

    @property
    def url(self) -> str:
        """Where its keys are."""
        return f"http://127.0.0.1:{self.server_port}/keys"

    @property
    def authenticator(self) -> Authenticator:
        """One that trusts it and has no keys yet."""
        return authenticator_by(self.url)

    def rotate(self, key_id: str) -> None:
        """Publishes another key instead of all others, and signs with it from now on."""
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.published = [public_key(self.private, key_id)]

    def headers(self, key_id: str | None = "first", **claims: Any) -> dict[str, str]:
        """The headers of a request with a token that is good, unless the claims or the key say otherwise."""
        standard = {"sub": "1", "exp": time.time() + 60, "iss": NAME, "aud": AUDIENCE}
        kept = {name: value for name, value in (standard | claims).items() if value}
        signed = jwt.encode(kept, self.private, algorithm="ES256", headers={"kid": key_id} if key_id else None)
        return {"Authorization": f"Bearer {signed}"}


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Issuer

    def do_GET(self) -> None:
        """Publishes the keys, unless the server has a fault."""
        self.server.requests += 1
        status, content = self.server.fault or (200, json.dumps({"keys": self.server.published}).encode())
        if status is not None:
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """An issuer that answers for as long as the block runs."""
    with Issuer() as issuer:
        thread = threading.Thread(target=issuer.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield issuer
        issuer.shutdown()
        thread.join()


def authenticator_by(url: str) -> Authenticator:
    """One that trusts the keys at the address."""
    return Authenticator(AuthSettings(jwks_url=url, issuer=NAME, audience=AUDIENCE))
