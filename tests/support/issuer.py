"""An issuer of tokens: a server on this machine that publishes keys and signs tokens."""

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
    """Returns the public key as an issuer publishes it."""
    return ECAlgorithm.to_jwk(private.public_key(), as_dict=True) | {"kid": key_id, "use": "sig"}


class Issuer(ThreadingHTTPServer):
    """A server that publishes a key.

    Attributes:
        private: key that signs the tokens.
        published: published keys; the id of the first is `first`.
        fault: status and content of the answer in place of the keys; without a status the connection ends.
        requests: number of requests.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.published = [public_key(self.private, "first")]
        self.fault: tuple[int | None, bytes] | None = None
        self.requests = 0

    @property
    def url(self) -> str:
        """URL of the published keys."""
        return f"http://127.0.0.1:{self.server_port}/keys"

    @property
    def authenticator(self) -> Authenticator:
        """Returns a new authenticator that trusts this issuer."""
        return authenticator_by(self.url)

    def rotate(self, key_id: str) -> None:
        """Publishes a new key in place of all others, and signs with the new key."""
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.published = [public_key(self.private, key_id)]

    def headers(self, key_id: str | None = "first", **claims: Any) -> dict[str, str]:
        """Returns request headers with a token; the token is valid unless claims or key make it invalid."""
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
    """Runs an issuer while the block runs."""
    with Issuer() as issuer:
        thread = threading.Thread(target=issuer.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield issuer
        issuer.shutdown()
        thread.join()


def authenticator_by(url: str) -> Authenticator:
    """Returns an authenticator that trusts the keys at the address."""
    return Authenticator(AuthSettings(jwks_url=url, issuer=NAME, audience=AUDIENCE))
