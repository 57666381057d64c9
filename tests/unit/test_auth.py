import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from functions.shared.auth import Authenticator, KeysUnavailable, Unauthenticated
from functions.shared.grant import Grant
from functions.shared.settings import AuthSettings

SECRET = "a secret of forty-eight characters, for all HMACs"
AUTHENTICATOR = Authenticator(AuthSettings(secret=SECRET))


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    standard = {"sub": "1", "scope": "events:read", "namespaces": ["27/"], "exp": time.time() + 60}
    kept = {name: value for name, value in (standard | claims).items() if value is not None}
    return jwt.encode(kept, secret, algorithm=algorithm)


def test_a_token_grants_what_it_says() -> None:
    headers = {"authorization": f"bearer {token(scope='events:read events:write', namespaces=['27/', '*'])}"}
    assert AUTHENTICATOR.grant(headers) == Grant("1", ("events:read", "events:write"), ("27/", "*"))


@pytest.mark.parametrize(
    "claims",
    [
        {"namespaces": ["27/28", "27", "/27/", "0/", "a/", "27//", " 27/", "", "**", 27]},
        {"namespaces": "*"},
        {"namespaces": None},
        {"namespaces": {"*": 1}},
    ],
)
def test_what_is_no_traversal_path_grants_nothing(claims: dict[str, Any]) -> None:
    assert AUTHENTICATOR.grant({"Authorization": f"Bearer {token(**claims)}"}).namespaces == ()


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        f"Basic {token()}",
        token(),
        f"Bearer {token(secret='another secret of forty-eight characters, for all')}",
        f"Bearer {token(exp=time.time() - 1)}",
        f"Bearer {token(exp=None)}",
        f"Bearer {token(sub=None)}",
        f"Bearer {token(sub=1)}",
        f"Bearer {token(algorithm='HS384')}",
        "Bearer " + jwt.encode({"sub": "1", "exp": time.time() + 60}, "", algorithm="none"),
    ],
    ids=map(str, range(14)),  # a token would be another one in each process that runs tests
)
def test_a_missing_or_bad_token_is_refused(authorization: str | None) -> None:
    with pytest.raises(Unauthenticated):
        AUTHENTICATOR.grant({"Authorization": authorization})


TOO_MUCH = [
    ("sub", {"sub": "1" * 1025}),
    ("sub", {"sub": "nul\0"}),
    ("sub", {"sub": "half \ud83d"}),
    ("sub", {"sub": "\uffff"}),
    ("issuer", {"iss": "x" * 1025}),
    ("issuer", {"iss": "nul\0"}),
    ("scopes", {"scope": "a " * 101}),
    ("scopes", {"scope": ["x" * 257]}),
    ("scopes", {"scope": ["nul\0"]}),
    ("namespaces", {"namespaces": ["27/"] * 501}),
]


@pytest.mark.parametrize(("name", "claims"), TOO_MUCH)
def test_a_token_whose_texts_can_not_travel_with_events_is_refused_with_the_reason(
    name: str, claims: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated, match=f"The token's {name} "):
        AUTHENTICATOR.grant({"Authorization": f"Bearer {token(**claims)}"})


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "1" * 1024},
        {"sub": "ünal|\U0001f600"},
        {"iss": "x" * 1024},
        {"scope": "a " * 99 + "x" * 256},
        {"namespaces": ["1/" * 512, *["27/"] * 499, "1/" * 513, "nul\0"]},
    ],
)
def test_a_token_may_say_much(claims: dict[str, Any]) -> None:
    assert AUTHENTICATOR.grant({"Authorization": f"Bearer {token(**claims)}"}).is_everywhere is False


class Issuer(ThreadingHTTPServer):
    """A server that publishes a key.

    Attributes:
        fault: status and content of what it answers instead; no status where it ends the connection.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.fault: tuple[int | None, bytes] | None = None

    @property
    def keys(self) -> bytes:
        public = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return json.dumps({"keys": [public | {"kid": "first", "use": "sig"}]}).encode()

    @property
    def authenticator(self) -> Authenticator:
        return authenticator_by(f"http://127.0.0.1:{self.server_port}/keys")

    def headers(self, key_id: str | None = "first", **claims: str) -> dict[str, str]:
        standard = {"sub": "1", "exp": time.time() + 60, "iss": "issuer", "aud": "events"}
        kept = {name: value for name, value in (standard | claims).items() if value}
        signed = jwt.encode(kept, self.private, algorithm="ES256", headers={"kid": key_id} if key_id else None)
        return {"Authorization": f"Bearer {signed}"}


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Issuer

    def do_GET(self) -> None:
        """Publishes the key, unless the server has a fault."""
        status, content = self.server.fault or (200, self.server.keys)
        if status is not None:
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        thread = threading.Thread(target=issuer.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield issuer
        issuer.shutdown()
        thread.join()


def authenticator_by(url: str) -> Authenticator:
    return Authenticator(AuthSettings(jwks_url=url, issuer="issuer", audience="events"))


@pytest.mark.parametrize(
    ("said", "accepted"),
    [
        ({}, True),
        ({"aud": "others"}, False),
        ({"iss": "other"}, False),
        ({"aud": ""}, False),
        ({"iss": ""}, False),
        ({"key_id": "second"}, False),
        ({"key_id": None}, False),
    ],
)
def test_an_issuers_token_counts_only_where_it_is_meant_for_us(
    said: dict[str, str], accepted: bool, issuer: Issuer
) -> None:
    headers = issuer.headers(**said)
    if accepted:
        assert issuer.authenticator.grant(headers).sub == "1"
    else:
        with pytest.raises(Unauthenticated):
            issuer.authenticator.grant(headers)


@pytest.mark.parametrize(
    "fault",
    [
        (500, b""),
        (302, b""),
        (None, b""),
        (200, b""),
        (200, b"<html>"),
        (200, b"\xff"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"keys": []}'),
        (200, b'{"keys": [{"kty": "oct", "k": "eA", "use": "enc", "kid": "first"}]}'),
    ],
)
def test_while_an_issuer_publishes_no_keys_its_tokens_are_neither_good_nor_bad(
    fault: tuple[int | None, bytes], issuer: Issuer
) -> None:
    issuer.fault = fault
    with pytest.raises(KeysUnavailable, match="again"):
        issuer.authenticator.grant(issuer.headers())


def test_an_issuer_that_is_away_is_asked_again_with_the_next_token(issuer: Issuer) -> None:
    authenticator = issuer.authenticator
    issuer.fault = (500, b"")
    with pytest.raises(KeysUnavailable):
        authenticator.grant(issuer.headers())
    issuer.fault = None
    assert authenticator.grant(issuer.headers()).sub == "1"


@pytest.mark.parametrize("is_there", [False, True])
def test_an_issuer_that_does_not_answer_makes_no_token_a_bad_one(
    is_there: bool, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.shared.auth._JWKS_TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        authenticator = authenticator_by(f"http://127.0.0.1:{silent.getsockname()[1]}/keys")
        if not is_there:
            silent.close()
        with pytest.raises(KeysUnavailable):
            authenticator.grant(issuer.headers())


@pytest.mark.parametrize(
    ("namespaces", "path", "covered"),
    [
        (("27/",), "27/", True),
        (("27/",), "27/28/", True),
        (("27/28/",), "27/", False),
        (("27/28/",), "27/281/", False),
        (("27/28/", "3/"), "3/4/", True),
        ((), "27/", False),
        (("*",), "27/", True),
        (("*",), None, True),
        (("27/",), None, False),
    ],
)
def test_a_grant_covers_its_namespaces_and_all_below(
    namespaces: tuple[str, ...], path: str | None, covered: bool
) -> None:
    assert Grant("1", (), namespaces).covers(path) is covered
