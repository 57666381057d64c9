"""Gets the tokens of canaries: signed here, given by an operator, or fetched from the issuer."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec

from functions.canary.https import Unanswered, post
from functions.shared.grant import CANARY
from functions.shared.json_web_token import jwt
from functions.shared.secret import Secret
from functions.shared.settings import CanaryTokens

LIFE_SECONDS = 60
"""Lifetime of a signed token: each request has its own."""

_LONGEST_KEPT_SECONDS = 240
"""A fetched token is used for at most this time, so that each canary fetches one: issuers charge for tokens."""

_KEPT_SECONDS = 60  # if the issuer does not say how long the token is valid

_SUB = "canary"


class ClientCredentials(msgspec.Struct, frozen=True):
    """What fetches a token from an issuer (RFC 6749, section 4.4)."""

    token_url: Annotated[str, msgspec.Meta(pattern=r"^https?://[A-Za-z0-9_.:-]+(/[!-~]*)?$")]
    client_id: str
    client_secret: str
    scope: str = CANARY


def token_source(tokens: CanaryTokens) -> Callable[[], str]:
    """Returns the function that returns a token for one request."""
    return (lambda: _signed(tokens)) if tokens.token is None else _Given(tokens.token)


def _signed(tokens: CanaryTokens) -> str:
    now, life = int(time.time()), min(LIFE_SECONDS, tokens.max_lifetime or LIFE_SECONDS)
    claims = {"sub": _SUB, "scope": CANARY, "namespaces": [], "iat": now, "exp": now + life}
    claims |= {"iss": tokens.issuer} if tokens.issuer else {}
    claims |= {"aud": tokens.audience} if tokens.audience else {}
    return jwt.encode(claims, tokens.signing.current()[0], algorithm="HS256")


@dataclass(slots=True)
class _Given:
    """The token in a secret, or the one that the credentials in it fetch."""

    secret: Secret[str]
    _credentials: str = ""
    _token: str = ""
    _kept_until: float = -math.inf

    def __call__(self) -> str:
        """Returns a token for one request.

        Raises:
            Unanswered: the credentials are malformed, or the issuer gave no token.
        """
        text = self.secret.current()
        if not text.startswith("{"):
            return text
        if text != self._credentials or monotonic() >= self._kept_until:
            answer = _answer_of_issuer(text)
            self._credentials, self._token = text, answer["access_token"]
            self._kept_until = monotonic() + _kept_seconds(answer)
        return self._token


def _kept_seconds(answer: dict[str, Any]) -> float:
    """Returns how long to use a token: for half of its lifetime, and for one canary at most."""
    life = answer.get("expires_in")
    return min(_LONGEST_KEPT_SECONDS, life / 2) if isinstance(life, int) else _KEPT_SECONDS


def _answer_of_issuer(text: str) -> dict[str, Any]:
    """Returns the issuer's answer to the credentials in a secret, with a token.

    Raises:
        Unanswered: the credentials are malformed, or the issuer gave no token.
    """
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
    return answer
