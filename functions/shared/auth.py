"""Verifies bearer tokens and turns their claims into grants."""

import base64
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from time import time
from typing import Any

import msgspec
from aws_lambda_powertools import Logger

from functions.shared.grant import EVERYTHING, Grant, is_traversal_path
from functions.shared.json_web_token import jwt
from functions.shared.published_keys import ALGORITHMS, KeysUnavailable, PublishedKeys
from functions.shared.revocations import Revocations, RevocationsUnavailable
from functions.shared.settings import AuthSettings
from functions.shared.signing_secrets import SigningSecrets

__all__ = ["Authenticator", "KeysUnavailable", "RevocationsUnavailable", "Unauthenticated"]

MAX_TOKEN_CHARACTERS = 65_536
MAX_VERIFIED_TOKENS = 100

_JWKS_TIMEOUT_SECONDS = 5
_CHALLENGE = 'Bearer realm="ai-usage-events"'
_TIMES = ("exp", "nbf", "iat")

logger = Logger(child=True)


class Unauthenticated(Exception):
    """The request has no token or an invalid one; the message may be sent to the client."""

    def __init__(self, message: str, *, has_token: bool = True) -> None:
        super().__init__(message)
        self.challenge = f'{_CHALLENGE}, error="invalid_token"' if has_token else _CHALLENGE
        """Value of the response header `WWW-Authenticate` (RFC 6750)."""


class Authenticator:
    """Verifies tokens according to the settings."""

    def __init__(self, settings: AuthSettings) -> None:
        self._settings = settings
        if settings.secret is not None:
            # PyJWT uses it for each secret: better at the start than within the first request.
            import cryptography.x509.base  # noqa: F401
        self._keys = PublishedKeys(settings.jwks_url, _JWKS_TIMEOUT_SECONDS) if settings.jwks_url else None
        self._secrets = SigningSecrets(settings.secret, settings.previous_secret)
        self._revocations = Revocations(settings.revocations_arn) if settings.revocations_arn else None
        self._verified: dict[str, Any] = {}
        """Keys of the tokens that were verified before: verifying takes longer than the rest of a short request."""

    def grant(self, headers: Mapping[str, str | None] | None) -> Grant:
        """Verifies the bearer token in `headers` and returns what it allows.

        Raises:
            Unauthenticated: the token is missing, malformed, expired, revoked or wrongly signed.
            KeysUnavailable: the issuer's keys can't be fetched, so the signature can't be checked.
            RevocationsUnavailable: the list of revoked tokens can't be read.
        """
        claims = self._verified_claims(_bearer_token(headers or {}))
        self._require_short_life(claims)
        grant = _grant_of(claims)
        if self._revocations is not None and self._revocations.include(claims):
            raise Unauthenticated("The token was revoked.")
        return grant

    def _verified_claims(self, token: str) -> dict[str, Any]:
        header, claims = _parts(token)
        keys = self._verifying_keys(header)
        known = self._verified.get(token)
        if known is not None and any(key is known for key in keys) and int(claims["exp"]) > time():
            return claims  # of all that was verified, only the time can have changed
        self._verified.pop(token, None)
        try:
            self._remember(token, self._signing_key(token, keys, claims))
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("The token has expired.") from error
        except jwt.PyJWTError as error:
            raise _invalid() from error
        except Exception as error:  # a hostile token must not cause a server error
            logger.warning("Verifying a token raised an unexpected error", extra={"reason": type(error).__name__})
            raise _invalid() from error
        return claims

    def _signing_key(self, token: str, keys: Sequence[Any], claims: Mapping[str, Any]) -> Any:
        """Verifies a token, perhaps with a secret that was rotated just now, and returns the key that signed it."""
        try:
            return self._verify_by_any(token, keys, claims)
        except jwt.InvalidSignatureError:
            if new := self._secrets.read_again():
                return self._verify_by_any(token, new, claims)
            raise

    def _verify_by_any(self, token: str, keys: Sequence[Any], claims: Mapping[str, Any]) -> Any:
        """Verifies a token, and returns the key that signed it."""
        for key in keys[:-1]:
            try:
                self._verify(token, key, claims)
            except jwt.InvalidSignatureError:
                continue
            return key
        self._verify(token, keys[-1], claims)
        return keys[-1]

    def _remember(self, token: str, key: Any) -> None:
        if len(self._verified) >= MAX_VERIFIED_TOKENS:
            self._verified.clear()
        self._verified[token] = key

    def _verifying_keys(self, header: Mapping[str, Any]) -> Sequence[Any]:
        """Returns the keys, at least one, that may have signed a token with this header."""
        if self._keys is None:
            return self._secrets.current()
        key_id, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(key_id, str) or algorithm not in ALGORITHMS:
            self._keys.require_some()
            raise _invalid()
        key = self._keys.key(key_id, algorithm)
        if key is None:
            raise _invalid()
        return [key]

    def _verify(self, token: str, key: Any, claims: Mapping[str, Any]) -> None:
        audience = self._settings.audience
        names_client = self._settings.client_id_as_audience and "aud" not in claims
        if audience is not None and names_client:
            if claims.get("token_use") != "access" or claims.get("client_id") != audience:
                raise jwt.InvalidAudienceError
            audience = None
        jwt.decode(
            token,
            key,
            algorithms=["HS256"] if self._keys is None else ALGORITHMS,
            audience=audience,
            issuer=self._settings.issuer,
            options={
                "require": ["exp", "sub"],
                "verify_aud": audience is not None,
                "enforce_minimum_key_length": self._keys is not None,
            },
        )

    def _require_short_life(self, claims: Mapping[str, Any]) -> None:
        max_seconds = self._settings.max_lifetime
        if max_seconds is None:
            return
        issued_at, expires_at = claims.get("iat"), claims["exp"]
        if issued_at is None or expires_at - issued_at > max_seconds or expires_at - time() > max_seconds:
            raise Unauthenticated(
                f"The token must state when it was issued (iat) and be valid for at most {max_seconds} seconds."
            )


def _invalid() -> Unauthenticated:
    return Unauthenticated("The token is not valid.")


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Decodes header and claims of a token without verifying the token.

    Raises:
        Unauthenticated: one of them is not a JSON object or has a duplicate key.
    """
    if len(token) > MAX_TOKEN_CHARACTERS or token.count(".") != 2:
        raise _invalid()
    header, claims, _ = token.split(".")
    try:
        parts = _json_object(header), _json_object(claims)
    except (ValueError, RecursionError) as error:
        raise _invalid() from error
    if not all(_is_a_time(parts[1][name]) for name in _TIMES if name in parts[1]):
        raise Unauthenticated("The token's exp, nbf and iat must be numbers.")
    return parts


def _json_object(segment: str) -> dict[str, Any]:
    text = base64.urlsafe_b64decode(segment + "==").decode()
    content = json.loads(text, object_pairs_hook=_unambiguous, parse_constant=_refuse_constant)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - handled like invalid JSON
    return content


def _unambiguous(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Builds an object and rejects duplicate keys, of which parsers pick different ones."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("duplicate key")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")


def _is_a_time(value: Any) -> bool:
    """Whether `value` is a finite number; PyJWT would also accept a text of digits."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _bearer_token(headers: Mapping[str, str | None]) -> str:
    for name, value in headers.items():
        if name.lower() == "authorization" and isinstance(value, str) and value:
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer" and token.strip():
                return token.strip()
            raise Unauthenticated("The Authorization header must be: Bearer, a space and the token.", has_token=False)
    raise Unauthenticated("A bearer token is required: Authorization: Bearer <token>.", has_token=False)


def _grant_of(claims: Mapping[str, Any]) -> Grant:
    if not claims["sub"]:
        raise Unauthenticated("The token's sub is empty.")
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
        raise Unauthenticated(f"The token's {name} is too long or contains characters that can't be stored.") from error


def _strings(value: Any) -> Iterable[str]:
    return (item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
