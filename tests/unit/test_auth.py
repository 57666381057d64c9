import socket
import time
from collections.abc import Iterator
from copy import replace
from typing import Any

import jwt
import pytest

from functions.shared import published_keys
from functions.shared.auth import MAX_VERIFIED_TOKENS, Authenticator, KeysUnavailable, Unauthenticated
from functions.shared.grant import Grant
from functions.shared.settings import AuthSettings
from tests.support.issuer import Issuer, authenticator_by, running_issuer

SECRET = "a secret of forty-eight characters, for all HMACs"
AUTHENTICATOR = Authenticator(AuthSettings(secret=SECRET))


def token(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    standard = {"sub": "1", "scope": "events:read", "namespaces": ["27/"], "exp": time.time() + 86_400}
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
        "Bearer " + jwt.encode({"sub": "1", "exp": time.time() + 86_400}, "", algorithm="none"),
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


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of the issuer's keys: a list whose only element is the time."""
    now = [time.time()]
    monkeypatch.setattr(published_keys, "time", lambda: now[0])
    return now


@pytest.mark.parametrize("fault", [None, (500, b"")])
def test_unknown_keys_make_the_keys_be_fetched_once_in_a_while(
    fault: tuple[int, bytes] | None, issuer: Issuer, clock: list[float]
) -> None:
    authenticator = issuer.authenticator
    assert authenticator.grant(issuer.headers()).sub == "1"
    issuer.fault, issuer.requests = fault, 0
    refused = KeysUnavailable if fault else Unauthenticated
    for seconds, fetches in ((0, 1), (9, 1), (1, 2), (30, 4)):
        clock[0] += seconds
        for number in range(20):
            with pytest.raises(refused):
                authenticator.grant(issuer.headers(f"unknown {number}"))
            assert authenticator.grant(issuer.headers()).sub == "1"
        assert issuer.requests == fetches


def test_a_new_key_counts_at_once_or_ten_seconds_after_a_flood_of_unknown_keys(
    issuer: Issuer, clock: list[float]
) -> None:
    authenticator = issuer.authenticator
    authenticator.grant(issuer.headers())
    issuer.rotate("second")
    assert authenticator.grant(issuer.headers("second")).sub == "1"
    for number in range(20):
        with pytest.raises(Unauthenticated):
            authenticator.grant(issuer.headers(f"unknown {number}"))
    issuer.rotate("third")
    clock[0] += 10
    assert authenticator.grant(issuer.headers("third")).sub == "1"
    with pytest.raises(Unauthenticated):
        authenticator.grant(issuer.headers("second"))


def test_known_keys_count_for_an_hour_while_the_issuer_is_away(issuer: Issuer, clock: list[float]) -> None:
    authenticator = issuer.authenticator
    authenticator.grant(issuer.headers())
    issuer.fault, issuer.requests = (500, b""), 0
    for _ in range(20):
        clock[0] += 179
        assert authenticator.grant(issuer.headers(exp=clock[0] + 60)).sub == "1"
    assert 1 <= issuer.requests <= 20
    clock[0] += 30
    with pytest.raises(KeysUnavailable):
        authenticator.grant(issuer.headers(exp=clock[0] + 60))
    issuer.fault = None
    clock[0] += 10
    assert authenticator.grant(issuer.headers(exp=clock[0] + 60)).sub == "1"


@pytest.mark.parametrize(
    ("said", "accepted"),
    [
        ({"client_id": "events", "token_use": "access"}, True),
        ({"client_id": "others", "token_use": "access"}, False),
        ({"client_id": "events", "token_use": "id"}, False),
        ({"client_id": "events"}, False),
        ({"client_id": ["events"], "token_use": "access"}, False),
        ({"token_use": "access"}, False),
        ({"aud": "others", "client_id": "events", "token_use": "access"}, False),
        ({"aud": "events"}, True),
    ],
)
def test_cognitos_access_tokens_count_by_their_client_where_that_is_wanted(
    said: dict[str, Any], accepted: bool, issuer: Issuer
) -> None:
    headers = issuer.headers(**({"aud": None, "sub": "d1c2a3f4-0b1a-4c5d-8e9f-001122334455"} | said))
    plain = AuthSettings(jwks_url=issuer.url, issuer="issuer", audience="events")
    authenticator = Authenticator(replace(plain, client_id_as_audience=True))
    if accepted:
        assert authenticator.grant(headers).sub.startswith("d1c2a3f4")
    else:
        with pytest.raises(Unauthenticated):
            authenticator.grant(headers)
    if "aud" not in said:
        with pytest.raises(Unauthenticated):
            Authenticator(plain).grant(headers)


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


def test_a_token_is_verified_again_only_once_it_may_have_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator = Authenticator(AuthSettings(secret=SECRET))
    headers = {"Authorization": f"Bearer {token()}"}
    verified: list[str] = []
    decode = jwt.decode

    def noted(text: str, *arguments: Any, **options: Any) -> Any:
        verified.append(text)
        return decode(text, *arguments, **options)

    monkeypatch.setattr(jwt, "decode", noted)
    assert authenticator.grant(headers) == authenticator.grant(headers)
    assert len(verified) == 1
    monkeypatch.setattr("functions.shared.auth.time", lambda: time.time() + 86_401)
    authenticator.grant(headers)
    assert len(verified) == 2


def test_a_verified_token_is_refused_once_its_key_is_no_longer_known(monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator = Authenticator(AuthSettings(secret=SECRET))
    headers = {"Authorization": f"Bearer {token()}"}
    authenticator.grant(headers)
    monkeypatch.setattr(
        authenticator, "_verifying_keys", lambda _: ["another secret of forty-eight characters, for all"]
    )
    with pytest.raises(Unauthenticated, match="not valid"):
        authenticator.grant(headers)


def test_only_so_many_verified_tokens_are_remembered() -> None:
    authenticator = Authenticator(AuthSettings(secret=SECRET))
    for number in range(2 * MAX_VERIFIED_TOKENS):
        authenticator.grant({"Authorization": f"Bearer {token(jti=str(number))}"})
    assert len(authenticator._verified) <= MAX_VERIFIED_TOKENS
