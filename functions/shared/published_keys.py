"""Fetches and caches the keys that an issuer publishes (a JWKS)."""

from collections.abc import Iterable
from time import time
from typing import Any

from aws_lambda_powertools import Logger

from functions.shared.allowance import Allowance
from functions.shared.failure import class_and_code
from functions.shared.json_web_token import jwt

ALGORITHMS = ("RS256", "ES256")

_FRESH_SECONDS = 300  # cached keys are used without fetching
_MAX_STALE_SECONDS = 3600  # cached keys are used while the issuer can't be reached
_MAX_FETCHES_AT_ONCE = 2
_SECONDS_PER_FETCH = 10
_UNAVAILABLE = "The keys that verify the token can't be fetched; send the request again."

logger = Logger(child=True)


class KeysUnavailable(Exception):
    """The issuer's keys can't be fetched; the message may be sent to the client."""


class PublishedKeys:
    """The signing keys published at a URL: RSA (RS256) and P-256 (ES256)."""

    def __init__(self, url: str, timeout: float) -> None:
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=timeout)
        self._keys: dict[tuple[str, str], jwt.PyJWK] = {}
        self._key_ids: frozenset[str] = frozenset()
        self._fetched_at = float("-inf")
        self._fetches = Allowance(_MAX_FETCHES_AT_ONCE, _SECONDS_PER_FETCH)
        self._is_failing = True

    def key(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """Returns the key with this id and algorithm; None if the issuer publishes none.

        An unknown id causes a fetch. Anyone can name unknown ids, so at most two fetches happen at once and then one
        every ten seconds, whatever the issuer answers.

        Raises:
            KeysUnavailable: the issuer can't be reached or publishes no usable keys.
        """
        now = time()
        is_fresh = 0 <= now - self._fetched_at < _FRESH_SECONDS
        if not (is_fresh and key_id in self._key_ids) and self._fetches.take(now):
            self._fetch(now)
        if not self._count(now) or (self._is_failing and key_id not in self._key_ids):
            raise KeysUnavailable(_UNAVAILABLE)
        return self._keys.get((key_id, algorithm))

    def require_some(self) -> None:
        """Checks that keys are available, for a token that names no usable key.

        Raises:
            KeysUnavailable: no keys are available, so no token can be verified.
        """
        now = time()
        if not self._count(now) and self._fetches.take(now):
            self._fetch(now)
        if not self._count(now):
            raise KeysUnavailable(_UNAVAILABLE)

    def _count(self, now: float) -> bool:
        """Whether the cached keys are recent enough to use."""
        return 0 <= now - self._fetched_at < _MAX_STALE_SECONDS

    def _fetch(self, now: float) -> None:
        try:
            keys = _signing_keys(self._client.fetch_data())
        except (jwt.PyJWTError, ValueError, OSError, RecursionError) as error:
            logger.warning("The issuer's keys can't be fetched", extra={"reason": class_and_code(error)})
            self._is_failing = True
            return
        self._keys = {
            (str(key.key_id), key.algorithm_name): key for key in reversed(keys)
        }  # the first of equal ids wins
        self._key_ids = frozenset(key_id for key_id, _ in self._keys)
        self._fetched_at, self._is_failing = now, False


def _signing_keys(published: Any) -> list[jwt.PyJWK]:
    """Returns the usable signing keys of a JWKS and skips all others.

    Raises:
        ValueError: the JWKS has no usable key.
    """
    members = published.get("keys")
    found = [key for member in (members if isinstance(members, list) else ()) for key in _as_keys(member)]
    if not found:
        raise ValueError("the issuer publishes no key for RS256 or ES256")
    return found


def _as_keys(member: Any) -> Iterable[jwt.PyJWK]:
    """Yields the key that `member` describes, if it is usable."""
    try:
        if not _is_for_signatures(member):
            return
        key = jwt.PyJWK(member)
        if hasattr(key.key, "public_key"):  # the issuer published a private key
            key.key = key.key.public_key()
    except Exception as error:  # noqa: BLE001 - one malformed key must not disable the others
        logger.warning("A key of the issuer can't be used", extra={"reason": type(error).__name__})
        return
    yield key


def _is_for_signatures(member: dict[str, Any]) -> bool:
    key_id, key_type = member.get("kid"), member.get("kty")
    if not isinstance(key_id, str) or not key_id or member.get("use") not in ("sig", None):
        return False
    if "verify" not in member.get("key_ops", ["verify"]):
        return False
    if key_type == "RSA":
        return bool(member.get("alg", "RS256") == "RS256")
    return (key_type, member.get("crv"), member.get("alg", "ES256")) == ("EC", "P-256", "ES256")
