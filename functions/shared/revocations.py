"""Tokens that were revoked before they expire: the list of them, and what a function knows of it.

The list is a secret in Secrets Manager, which the functions read anyway: neither PostgreSQL nor another service is
needed, and the secret is guarded like the one that tokens are signed with.
"""

from collections.abc import Mapping
from time import time
from typing import Any, Self

import msgspec
from aws_lambda_powertools import Logger

MAX_LIST_BYTES = 65_536  # of a secret

_FRESH_SECONDS = 60
_MAX_STALE_SECONDS = 900
_SECONDS_PER_ATTEMPT = 10
_CONNECT_SECONDS = 1
_READ_SECONDS = 1

logger = Logger(child=True)


class RevocationsUnavailable(Exception):
    """Whether a token was revoked can't be found out now; the message may be shown to the sender."""


class Revocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A token that no longer counts, or all tokens of a user that were issued before a moment.

    Attributes:
        jti: the token's id; empty where it is about a user.
        sub: the user's id, as tokens write it; empty where it is about one token.
        issuer: whose tokens it is about; empty for those of all.
        before: seconds since 1970; the user's tokens that were issued earlier, or do not say when, do not count.
        until: seconds since 1970; by then all that it is about has expired, and it is forgotten. None for never.
    """

    jti: str = ""
    sub: str = ""
    issuer: str = ""
    before: int = 0
    until: int | None = None

    def applies_to(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token with these claims, which were verified, no longer counts."""
        if self.issuer and claims.get("iss") != self.issuer:
            return False
        if self.jti and claims.get("jti") == self.jti:
            return True
        issued_at = claims.get("iat")
        return bool(self.sub) and claims["sub"] == self.sub and (issued_at is None or issued_at < self.before)


class RevocationList(msgspec.Struct, frozen=True):
    """What was revoked, as the secret holds it; a secret `{}` is an empty list."""

    revoked: tuple[Revocation, ...] = ()

    @classmethod
    def read(cls, text: str) -> Self:
        """The list that a secret's text is.

        Raises:
            msgspec.DecodeError: it is none.
        """
        return msgspec.json.decode(text, type=cls)

    def __contains__(self, claims: Mapping[str, Any]) -> bool:
        return any(revocation.applies_to(claims) for revocation in self.revoked)


class Revocations:
    """The list as this function knows it: read again each minute.

    While it can't be read, what was read last counts for 15 minutes: a short outage of Secrets Manager then stops
    nobody, and what was revoked before stays revoked. After that, and in a function that has never read the list, no
    token is accepted, since each start of a function would otherwise bring revoked tokens back.
    """

    def __init__(self, secret_arn: str) -> None:
        self._secret_arn = secret_arn
        self._list = RevocationList()
        self._read_at = self._tried_at = float("-inf")
        self._client: Any = None

    def include(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token with these claims, which were verified, was revoked.

        Raises:
            RevocationsUnavailable: the list is not known, or was read too long ago.
        """
        now = time()
        if not (0 <= now - self._read_at < _FRESH_SECONDS or 0 <= now - self._tried_at < _SECONDS_PER_ATTEMPT):
            self._read(now)
        if not 0 <= now - self._read_at < _MAX_STALE_SECONDS:
            raise RevocationsUnavailable(
                "Whether the token was revoked can't be found out now; send the request again."
            )
        return claims in self._list

    def _read(self, now: float) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        self._tried_at = now
        try:
            answer = self._secrets_manager().get_secret_value(SecretId=self._secret_arn, VersionStage="AWSCURRENT")
            self._list = RevocationList.read(answer["SecretString"])
        except (BotoCoreError, ClientError, KeyError, msgspec.DecodeError) as error:
            logger.warning("The list of revoked tokens can't be read", extra={"reason": type(error).__name__})
        else:
            self._read_at = now

    def _secrets_manager(self) -> Any:
        import boto3
        from botocore.config import Config

        if self._client is None:
            patience = Config(
                connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS, retries={"total_max_attempts": 2}
            )
            self._client = boto3.client("secretsmanager", config=patience)
        return self._client
