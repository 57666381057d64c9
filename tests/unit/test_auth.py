import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from functions.shared.auth import Authenticator, Unauthenticated
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


class Keys:
    """Stands in for the keys that an issuer publishes."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.key = self.private.public_key()

    def get_signing_key_from_jwt(self, _: str) -> "Keys":
        return self


@pytest.mark.parametrize(
    ("claims", "accepted"),
    [
        ({"iss": "issuer", "aud": "events"}, True),
        ({"iss": "issuer", "aud": "others"}, False),
        ({"iss": "other", "aud": "events"}, False),
        ({"iss": "issuer"}, False),
        ({"aud": "events"}, False),
    ],
)
def test_an_issuers_token_counts_only_where_it_is_meant_for_us(claims: dict[str, str], accepted: bool) -> None:
    keys = Keys()
    authenticator = Authenticator(AuthSettings(jwks_url="https://keys", issuer="issuer", audience="events"))
    authenticator._keys = keys  # type: ignore[assignment]
    signed = jwt.encode({"sub": "1", "exp": time.time() + 60, **claims}, keys.private, algorithm="ES256")
    if accepted:
        assert authenticator.grant({"Authorization": f"Bearer {signed}"}).sub == "1"
    else:
        with pytest.raises(Unauthenticated):
            authenticator.grant({"Authorization": f"Bearer {signed}"})


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
