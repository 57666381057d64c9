"""Answers of each handler to tokens of all kinds, valid and not."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from functions.graphql.handler import GraphqlHandler
from functions.ingest.api_handler import IngestHandler
from functions.ingest.api_handler import build as build_ingest
from functions.shared import settings
from functions.shared.settings import AuthSettings
from tests.support.graphql import build_with_known_schema
from tests.support.issuer import AUDIENCE, NAME, Issuer, running_issuer

SECRET = "a secret of forty-eight characters, for all HMACs"
REALM = 'Bearer realm="ai-usage-events"'
ALGORITHMS = [
    *(f"{family}{bits}" for family in ("HS", "RS", "PS", "ES") for bits in (256, 384, 512)),
    "ES256K",
    "EdDSA",
    "none",
    "None",
    "NONE",
    "",
    "RSA-OAEP",
    "dir",
    "hs256",
]
ODD_ALGORITHMS = [None, 5, True, ["RS256"], {"RS256": 1}, "\ud83d", "HS256\0"]

type Key = Any
type Handler = GraphqlHandler | IngestHandler
type Ask = Callable[[str], tuple[int, dict[str, str]]]


@cache
def private_keys() -> dict[str, Key]:
    """Returns a key of each type that an issuer may publish, by key id."""
    return {
        "rsa": rsa.generate_private_key(65537, 2048),
        "rsa-bound": rsa.generate_private_key(65537, 2048),
        "p256": ec.generate_private_key(ec.SECP256R1()),
        "p384": ec.generate_private_key(ec.SECP384R1()),
        "p521": ec.generate_private_key(ec.SECP521R1()),
        "k256": ec.generate_private_key(ec.SECP256K1()),
        "ed": ed25519.Ed25519PrivateKey.generate(),
        "oct": b"a published secret of thirty-two bytes",
        "oct-none": b"",
        "oct-named": b"a published secret of thirty-two bytes",
        "oct-odd": b"a published secret of thirty-two bytes",
        "private": rsa.generate_private_key(65537, 2048),
        "for-encryption": rsa.generate_private_key(65537, 2048),
        "for-signing-alone": rsa.generate_private_key(65537, 2048),
    }


@cache
def published_keys() -> list[Any]:
    keys = private_keys()
    secret = base64.urlsafe_b64encode(keys["oct"]).decode().rstrip("=")
    return [
        None,
        {"kid": "no-type"},
        {"kid": "odd-type", "kty": ["RSA"], "alg": ["RS256"]},
        {"kid": "odd-curve", "kty": "EC", "crv": ["P-256"], "x": 1, "y": 2},
        {"kid": "odd-numbers", "kty": "RSA", "n": 5, "e": None},
        {"kid": ["rsa"], "kty": "oct", "k": secret},
        {"kid": "oct-none", "kty": "oct", "alg": "none", "k": ""},
        {"kid": "oct", "kty": "oct", "k": secret},
        {"kid": "oct-named", "kty": "oct", "alg": "HS256", "k": secret},
        {"kid": "oct-odd", "kty": "oct", "alg": "RS256", "k": secret},
        _public("rsa", RSAAlgorithm),
        _public("rsa-bound", RSAAlgorithm) | {"alg": "RS512"},
        _public("p256", ECAlgorithm),
        _public("p384", ECAlgorithm) | {"alg": "ES256"},
        _public("p521", ECAlgorithm),
        _public("k256", ECAlgorithm),
        _public("ed", OKPAlgorithm),
        RSAAlgorithm.to_jwk(keys["private"], as_dict=True) | {"kid": "private"},
        _public("for-encryption", RSAAlgorithm) | {"use": "enc"},
        _public("for-signing-alone", RSAAlgorithm) | {"key_ops": ["sign"]},
    ]


def _public(key_id: str, algorithm: Any) -> dict[str, Any]:
    return dict(algorithm.to_jwk(private_keys()[key_id].public_key(), as_dict=True)) | {
        "kid": key_id,
        "key_ops": ["verify"],
    }


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def hand_made(header: Any, claims: Any, key: bytes = SECRET.encode()) -> str:
    """Returns a token of these parts with an HMAC signature, whatever the header says; texts are not encoded."""
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    content = ".".join(map(encoded, parts))
    return f"{content}.{encoded(hmac.digest(key, content.encode(), hashlib.sha256))}"


def claims(**others: Any) -> dict[str, Any]:
    scope = "events:read events:write"
    return {
        "sub": "5",
        "scope": scope,
        "namespaces": ["27/"],
        "exp": int(time.time()) + 86_400,
        "iss": NAME,
        "aud": AUDIENCE,
    } | others


def signed(algorithm: str, key_id: str | None, key: Key, **others: Any) -> str:
    return jwt.encode(claims(**others), key, algorithm=algorithm, headers=None if key_id is None else {"kid": key_id})


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        issuer.published = published_keys()
        yield issuer


HANDLERS: dict[str, Callable[[AuthSettings], Handler]] = {
    "ingest": lambda auth: build_ingest(auth=auth, queue_url="http://127.0.0.1:1/queue", retention_months=3),
    "graphql": lambda auth: build_with_known_schema(auth=auth, database_url="postgresql://127.0.0.1:1/none"),
}


@pytest.fixture(params=HANDLERS)
def ask(request: pytest.FixtureRequest, aws: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ask]:
    """Returns a function that sends a token to a handler with these settings and returns status and headers."""

    def load(**environment: str) -> Ask:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        handler = HANDLERS[request.param](settings.auth())
        return lambda token: answer(handler, token)

    return load


def answer(handler: Handler, token: str) -> tuple[int, dict[str, str]]:
    event = {
        "httpMethod": "POST",
        "resource": "/v1/events",
        "headers": {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        "body": "[]" if isinstance(handler, IngestHandler) else '{"query": "{ __typename }"}',
        "isBase64Encoded": False,
    }
    answered = handler(event, None)
    return answered["statusCode"], answered["headers"]


TAKEN = (200, 202)


def assert_refused(answered: tuple[int, dict[str, str]]) -> None:
    status, headers = answered
    assert (status, headers.get("WWW-Authenticate")) == (401, f'{REALM}, error="invalid_token"')


GOOD = [("RS256", "rsa"), ("ES256", "p256")]


@pytest.fixture
def of_issuer(ask: Callable[..., Ask], issuer: Issuer) -> Ask:
    return ask(AUTH_JWKS_URL=issuer.url, AUTH_ISSUER=NAME, AUTH_AUDIENCE=AUDIENCE)


@pytest.fixture
def of_secret(ask: Callable[..., Ask]) -> Ask:
    return ask(AUTH_SECRET=SECRET)


@pytest.mark.parametrize(("algorithm", "key_id"), GOOD)
def test_a_token_that_an_issuers_key_signed_is_taken(algorithm: str, key_id: str, of_issuer: Ask) -> None:
    assert of_issuer(signed(algorithm, key_id, private_keys()[key_id]))[0] in TAKEN


@pytest.mark.parametrize("key_id", private_keys())
def test_every_algorithm_with_every_type_of_key_but_those_that_are_taken_is_refused(
    key_id: str, of_issuer: Ask
) -> None:
    for named in private_keys():
        for algorithm in [*ALGORITHMS, *ODD_ALGORITHMS]:
            header = {"alg": algorithm, "kid": named, "typ": "JWT"}
            for key in (b"a published secret of thirty-two bytes", b""):
                assert_refused(of_issuer(hand_made(header, claims(), key)))
        for algorithm in ALGORITHMS:
            if (token := _signed_if_possible(algorithm, named, private_keys()[key_id])) is None:
                continue
            if named == key_id and (algorithm, named) in [*GOOD, ("RS256", "private")]:
                continue
            assert_refused(of_issuer(token))


def _signed_if_possible(algorithm: str, key_id: str, key: Key) -> str | None:
    try:
        return signed(algorithm, key_id, key)
    except (jwt.PyJWTError, TypeError, ValueError, NotImplementedError, AttributeError):
        return None


HEADERS = [
    {"kid": None},
    {"kid": 5},
    {"kid": ["rsa"]},
    {"kid": {"rsa": 1}},
    {"kid": ""},
    {"kid": "rsa\0"},
    {"kid": "\ud83d"},
    {"kid": "x" * 20_000},
    {"kid": "../../keys"},
    {"crit": ["exp"]},
    {"crit": []},
    {"crit": "exp"},
    {"crit": [5]},
    {"crit": None},
    {"crit": ["b64"], "b64": False},
    {"b64": False},
    {"zip": "DEF", "enc": "A256GCM"},
]


@pytest.mark.parametrize("changes", HEADERS, ids=range(len(HEADERS)))
def test_an_odd_header_is_refused(changes: dict[str, Any], of_issuer: Ask, issuer: Issuer) -> None:
    assert_refused(of_issuer(hand_made({"alg": "ES256", "kid": "p256"} | changes, claims())))
    asked = issuer.requests
    assert_refused(of_issuer(hand_made({"alg": "HS256"} | changes, claims())))
    assert issuer.requests == asked


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c"])
def test_where_a_token_says_that_its_key_is_counts_for_nothing(name: str, of_issuer: Ask) -> None:
    with running_issuer() as stranger:
        value = {"jwk": stranger.published[0], "x5c": [encoded(b"certificate")]}.get(name, stranger.url)
        for key_id in ("first", "p256"):
            header = {"kid": key_id, name: value}
            assert_refused(of_issuer(jwt.encode(claims(), stranger.private, algorithm="ES256", headers=header)))
        header = {"kid": "p256", name: value}
        own = jwt.encode(claims(), private_keys()["p256"], algorithm="ES256", headers=header)
        assert of_issuer(own)[0] in TAKEN
        assert stranger.requests == 0


MALFORMED = [
    "x",
    ".",
    "..",
    "...",
    "....",
    "a.b.c",
    "é.ü.ß",
    "\ud83d",
    "\ud83d.\ud83d.\ud83d",
    "x" * 1_000_000,
    "." * 1_000_000,
    f"{encoded(b'{}')}..{encoded(b'')}",
    ".".join([encoded(b'{"alg":"RSA-OAEP","enc":"A256GCM"}'), *map(encoded, (b"key", b"iv", b"text", b"tag"))]),
    ".".join([encoded(b'{"alg":"dir","enc":"A256GCM","kid":"oct"}'), "", *map(encoded, (b"iv", b"text", b"tag"))]),
    json.dumps({"payload": "e30", "signatures": []}),
]
HAND_MADE = [
    (b'{"alg": "HS256", "alg": "none"}', {}),
    (b'{"alg": "none", "alg": "HS256"}', {}),
    (b'{"alg": "HS256", "kid": "a", "kid": "b"}', {}),
    (b'{"alg": "HS256", "x": {"a": 1, "a": 2}}', {}),
    (b'{"alg": "HS256"', {}),
    (b'["HS256"]', {}),
    (b"null", {}),
    (b"\xff\xfe", {}),
    ('{"alg": "HS256"}'.encode("utf-16"), {}),
    (b'{"alg": "HS256", "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", {}),
    (b'{"alg": "HS256", "x": ' + b"9" * 10_000 + b"}", {}),
    ({}, b"null"),
    ({}, b"[]"),
    ({}, b'"text"'),
    ({}, b"5"),
    ({}, b""),
    ({}, b"{"),
    ({}, b"\xff"),
    ({}, json.dumps(claims()).encode("utf-16")),
    ({}, json.dumps(claims()).encode("utf-32")),
    ({}, json.dumps(claims()).encode()[:-1] + b', "sub": "6"}'),
    ({}, json.dumps(claims()).encode()[:-1] + b', "namespaces": ["*"]}'),
    ({}, json.dumps(claims()).encode()[:-1] + b', "x": {"a": 1, "a": 2}}'),
    ({}, json.dumps(claims()).encode()[:-1] + b', "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    ({}, json.dumps(claims()).encode()[:-1] + b', "x": ' + b"9" * 10_000 + b"}"),
    ({}, json.dumps(claims()).encode() + b"\xff"),
]


@pytest.mark.parametrize("token", MALFORMED, ids=range(len(MALFORMED)))
def test_what_is_no_token_is_refused(token: str, of_secret: Ask, ask: Callable[..., Ask], issuer: Issuer) -> None:
    assert_refused(of_secret(token))
    of_issuer = ask(AUTH_SECRET="", AUTH_JWKS_URL=issuer.url, AUTH_ISSUER=NAME, AUTH_AUDIENCE=AUDIENCE)
    assert_refused(of_issuer(token))


@pytest.mark.parametrize(("header", "content"), HAND_MADE, ids=range(len(HAND_MADE)))
def test_a_signed_token_whose_header_or_claims_are_no_unambiguous_json_is_refused(
    header: Any, content: Any, of_secret: Ask
) -> None:
    assert of_secret(hand_made({"alg": "HS256"}, claims()))[0] in TAKEN
    header = header or {"alg": "HS256"}
    assert_refused(of_secret(hand_made(header, content if isinstance(content, bytes) else claims())))


NO_TIMES = ["", "soon", "9999999999", " 9999999999 ", True, False, [], {}, [9999999999], float("nan")]
REFUSED = [
    *({"exp": value} for value in [*NO_TIMES, None, 0, -1, 1.5, -1e300, float("-inf"), float("inf"), -(10**400)]),
    *({"nbf": value} for value in [*NO_TIMES, 9999999999, 1e300, float("inf"), 10**400]),
    *({"iat": value} for value in [*NO_TIMES, 9999999999, 1e300, float("inf"), 10**400]),
    *({"sub": value} for value in [None, "", 5, 5.0, True, [], ["5"], {}, {"5": 5}, "5\0", "\ud83d", "x" * 2_000]),
    *({"jti": value} for value in [5, [], {}, True]),
    *({"scope": value} for value in ["a " * 200, "x" * 300, ["x" * 300], ["\ud83d"]]),
    *({"iss": value} for value in ["x" * 2_000, "\0"]),
    {"namespaces": ["27/"] * 501},
]
READ_AS_NOTHING = [None, "", "27/", "*", 5, True, {}, {"*": 1}, [5], [["*"]], [None], ["27"], ["\ud83d"]]


@pytest.mark.parametrize("changes", REFUSED, ids=range(len(REFUSED)))
def test_a_claim_that_is_not_as_it_must_be_is_refused(changes: dict[str, Any], of_secret: Ask) -> None:
    assert_refused(of_secret(hand_made({"alg": "HS256"}, claims(**changes))))


@pytest.mark.parametrize("name", ["exp", "sub"])
def test_a_token_without_what_is_needed_is_refused(name: str, of_secret: Ask) -> None:
    kept = {key: value for key, value in claims().items() if key != name}
    assert_refused(of_secret(hand_made({"alg": "HS256"}, kept)))


@pytest.mark.parametrize("moment", [4102444800, 4102444800.5, 1e300, 2**70])
def test_a_time_may_be_any_number(moment: float, of_secret: Ask) -> None:
    assert of_secret(hand_made({"alg": "HS256"}, claims(exp=moment, nbf=1.5, iat=-1)))[0] in TAKEN


@pytest.mark.parametrize("value", READ_AS_NOTHING, ids=range(len(READ_AS_NOTHING)))
def test_namespaces_that_are_no_list_of_paths_grant_nothing(value: Any, of_secret: Ask) -> None:
    assert of_secret(hand_made({"alg": "HS256"}, claims(namespaces=value)))[0] in TAKEN


@pytest.mark.parametrize("value", [None, "", 5, True, {}, {"events:write": 1}, [], [5], ["events"]])
def test_a_scope_that_names_none_is_answered_with_403(value: Any, of_secret: Ask) -> None:
    status, headers = of_secret(hand_made({"alg": "HS256"}, claims(scope=value)))
    assert (status, headers.get("WWW-Authenticate")) == (403, None)


@pytest.mark.parametrize("value", [None, "", 5, True, [], {}, ["issuer"], "other"])
def test_a_token_of_no_issuer_or_for_another_audience_is_refused(value: Any, of_issuer: Ask) -> None:
    for name in ("iss", "aud"):
        if (name, value) != ("aud", [AUDIENCE]):
            header = {"alg": "ES256", "kid": "p256"}
            content = ".".join(encoded(json.dumps(part).encode()) for part in (header, claims(**{name: value})))
            signature = ECAlgorithm(ECAlgorithm.SHA256).sign(content.encode(), private_keys()["p256"])
            assert_refused(of_issuer(f"{content}.{encoded(signature)}"))


@pytest.mark.parametrize("headers", [None, {}, {"Authorization": None}, {"Authorization": ""}])
@pytest.mark.parametrize("name", ["ingest", "graphql"])
def test_a_request_without_a_token_is_told_how_to_send_one(headers: Any, name: str, aws: None) -> None:
    handler = HANDLERS[name](AuthSettings(secret=SECRET))
    answered = handler({"httpMethod": "POST", "headers": headers, "body": ""}, None)
    assert (answered["statusCode"], answered["headers"]["WWW-Authenticate"]) == (401, REALM)


@pytest.mark.parametrize("value", [5, ["Bearer x"], {"Bearer": "x"}, True])
def test_a_header_that_is_no_text_is_no_token(value: Any, of_secret: Ask) -> None:
    assert of_secret("x")[0] == 401
