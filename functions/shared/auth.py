"""Bearer tokens: who asks, and what the token allows."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import jwt
import msgspec
from aws_lambda_powertools import Logger

from functions.shared.grant import EVERYTHING, Grant, is_traversal_path
from functions.shared.settings import AuthSettings

_JWKS_TIMEOUT_SECONDS = 5

logger = Logger(child=True)


class Unauthenticated(Exception):
    """No token, or none that can be trusted; the message may be shown to the sender."""


class KeysUnavailable(Exception):
    """The issuer's keys can't be had, so that no token can be checked; the message may be shown to the sender."""


class _PublishedKeys(jwt.PyJWKClient):
    """The keys that an issuer publishes; that it has none is another error than that it lacks one."""

    def get_signing_keys(self, refresh: bool = False) -> list[jwt.PyJWK]:
        """As asked for each token; they are kept for five minutes.

        Raises:
            KeysUnavailable: the issuer can't be reached, or answers with anything but keys.
        """
        try:
            return super().get_signing_keys(refresh)
        except (jwt.PyJWTError, ValueError, OSError) as error:
            logger.warning("The issuer's keys can't be had", extra={"reason": str(error)})
            raise KeysUnavailable("The keys to check the token with can't be had; send the request again.") from error


class Authenticator:
    """Verifies tokens as the settings say."""

    def __init__(self, settings: AuthSettings) -> None:
        self._settings = settings
        self._keys = settings.jwks_url and _PublishedKeys(settings.jwks_url, timeout=_JWKS_TIMEOUT_SECONDS)

    def grant(self, headers: Mapping[str, str | None] | None) -> Grant:
        """What the bearer token in `headers` allows.

        Raises:
            Unauthenticated: there is no token, or it is malformed, expired or not signed as it must be.
            KeysUnavailable: whether it is signed as it must be can't be found out now.
        """
        token = _bearer_token(headers or {})
        try:
            return _grant_of(self._verified_claims(token))
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("The token has expired.") from error
        except jwt.PyJWTError as error:
            raise Unauthenticated("The token is not valid.") from error

    def _verified_claims(self, token: str) -> dict[str, Any]:
        key: Any = self._settings.secret
        algorithms = ["HS256"]
        if self._keys:
            key = self._keys.get_signing_key_from_jwt(token).key
            algorithms = ["RS256", "ES256"]
        return jwt.decode(
            token,
            key,
            algorithms=algorithms,
            audience=self._settings.audience,
            issuer=self._settings.issuer,
            options={"require": ["exp", "sub"], "verify_aud": self._settings.audience is not None},
        )


def _bearer_token(headers: Mapping[str, str | None]) -> str:
    for name, value in headers.items():
        if name.lower() == "authorization" and value:
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer" and token.strip():
                return token.strip()
            raise Unauthenticated("The Authorization header must be: Bearer, a space and the token.")
    raise Unauthenticated("A bearer token is needed: Authorization: Bearer <token>.")


def _grant_of(claims: Mapping[str, Any]) -> Grant:
    scope = claims.get("scope")
    issuer = claims.get("iss")
    namespaces = [path for path in _strings(claims.get("namespaces")) if path == EVERYTHING or is_traversal_path(path)]
    grant = {
        "sub": claims["sub"],
        "scopes": tuple(scope.split() if isinstance(scope, str) else _strings(scope)),
        "namespaces": tuple(namespaces),
        "issuer": issuer if isinstance(issuer, str) else "",
    }
    try:
        return msgspec.convert(grant, Grant)
    except msgspec.ValidationError as error:
        name = re.findall(r"\$\.(\w+)", str(error))[-1]
        raise Unauthenticated(f"The token's {name} is too long, or has characters that can't be stored.") from error


def _strings(value: Any) -> Iterable[str]:
    return (item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
