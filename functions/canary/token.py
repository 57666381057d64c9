"""Gets the tokens of canaries: signed here, given by an operator, or fetched from the issuer."""

import time
from collections.abc import Callable
from urllib.parse import urlencode

import msgspec

from functions.canary.https import Unanswered, post
from functions.shared.grant import CANARY
from functions.shared.json_web_token import jwt
from functions.shared.settings import CanarySettings

LIFE_SECONDS = 60
"""Lifetime of a signed token: each request has its own."""

_SUB = "canary"


class ClientCredentials(msgspec.Struct, frozen=True):
    """What fetches a token from an issuer (RFC 6749, section 4.4)."""

    token_url: str
    client_id: str
    client_secret: str
    scope: str = CANARY


def token_source(settings: CanarySettings) -> Callable[[], str]:
    """Returns the function that returns a token for one request."""
    secret = settings.token
    return (lambda: _signed(settings)) if secret is None else (lambda: _given(secret.current()))


def _signed(settings: CanarySettings) -> str:
    now, life = int(time.time()), min(LIFE_SECONDS, settings.max_lifetime or LIFE_SECONDS)
    claims = {"sub": _SUB, "scope": CANARY, "namespaces": [], "iat": now, "exp": now + life}
    claims |= {"iss": settings.issuer} if settings.issuer else {}
    claims |= {"aud": settings.audience} if settings.audience else {}
    return jwt.encode(claims, settings.signing.current()[0], algorithm="HS256")


def _given(text: str) -> str:
    """Returns the token in a secret, or the one that the credentials in it fetch.

    Raises:
        Unanswered: the credentials are malformed, or the issuer gave no token.
    """
    if not text.startswith("{"):
        return text
    try:
        credentials = msgspec.json.decode(text, type=ClientCredentials)
    except msgspec.DecodeError as error:
        raise Unanswered(f"the secret that CANARY_TOKEN_SECRET_ARN names is malformed: {error}") from error
    form = {
        "grant_type": "client_credentials",
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret,
        "scope": credentials.scope,
    }
    answer = post(credentials.token_url, None, form=urlencode(form).encode())
    if not isinstance(answer.get("access_token"), str):
        raise Unanswered("the issuer answered without an access_token")
    return str(answer["access_token"])
