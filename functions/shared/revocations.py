"""Reads and caches the list of tokens that were revoked before they expire.

The list is a secret in Secrets Manager, because the functions already read secrets: no other store is needed, and the
list is protected like the secret that signs tokens.
"""

from collections.abc import Mapping
from time import time
from typing import Any, Self

import msgspec
from aws_lambda_powertools import Logger

MAX_LIST_BYTES = 65_536  # size limit of a secret

_FRESH_SECONDS = 60
_MAX_STALE_SECONDS = 900
_SECONDS_PER_ATTEMPT = 10
_CONNECT_SECONDS = 1
_READ_SECONDS = 1

logger = Logger(child=True)


class RevocationsUnavailable(Exception):
    """The list of revoked tokens can't be read; the message may be sent to the client."""


class Revocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A revoked token, or a user whose tokens issued before a moment are revoked.

    Attributes:
        jti: id of the revoked token; empty for a user.
        sub: user id as in tokens; empty for a single token.
        issuer: issuer of the tokens; empty for any issuer.
        before: seconds since 1970. The user's tokens that were issued earlier or have no `iat` are revoked.
        until: seconds since 1970, when all affected tokens have expired and the entry is removed. None for never.
    """

    jti: str = ""
    sub: str = ""
    issuer: str = ""
    before: int = 0
    until: int | None = None

    def applies_to(self, claims: Mapping[str, Any]) -> bool:
        """Whether this entry revokes a token with these verified claims."""
        if self.issuer and claims.get("iss") != self.issuer:
            return False
        if self.jti and claims.get("jti") == self.jti:
            return True
        issued_at = claims.get("iat")
        return bool(self.sub) and claims["sub"] == self.sub and (issued_at is None or issued_at < self.before)


class RevocationList(msgspec.Struct, frozen=True):
    """All revocations, in the form of the secret; a secret `{}` is an empty list."""

    revoked: tuple[Revocation, ...] = ()

    @classmethod
    def read(cls, text: str) -> Self:
        """Parses the text of the secret.

        Raises:
            msgspec.DecodeError: the text is not a list of revocations.
        """
        return msgspec.json.decode(text, type=cls)

    def __contains__(self, claims: Mapping[str, Any]) -> bool:
        return any(revocation.applies_to(claims) for revocation in self.revoked)


class Revocations:
    """The list as cached by this function, read again each minute.

    While the list can't be read, the cached list is used for 15 minutes: a short outage of Secrets Manager stops
    nobody, and revoked tokens stay revoked. After that, and in a function that has never read the list, no token is
    accepted: each new function instance would otherwise accept revoked tokens again.
    """

    def __init__(self, secret_arn: str) -> None:
        self._secret_arn = secret_arn
        self._list = RevocationList()
        self._read_at = self._tried_at = float("-inf")
        self._client: Any = None

    def include(self, claims: Mapping[str, Any]) -> bool:
        """Whether the list revokes a token with these verified claims.

        Raises:
            RevocationsUnavailable: the list was never read, or was read too long ago.
        """
        now = time()
        if not (0 <= now - self._read_at < _FRESH_SECONDS or 0 <= now - self._tried_at < _SECONDS_PER_ATTEMPT):
            self._read(now)
        if not 0 <= now - self._read_at < _MAX_STALE_SECONDS:
            raise RevocationsUnavailable("The list of revoked tokens can't be read; send the request again.")
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
        from functions.shared import aws

        if self._client is None:
            self._client = aws.impatient_client("secretsmanager", _CONNECT_SECONDS, _READ_SECONDS)
        return self._client
