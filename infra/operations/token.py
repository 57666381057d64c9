"""Signs bearer tokens for both HTTPS routes."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import jwt


def sign(secret: str, sub: str, scopes: Sequence[str], namespaces: Sequence[str], expires: timedelta) -> str:
    """Returns a token (JWT, HS256) for the user with the id `sub`.

    The token has an id (`jti`) and a time of issue (`iat`), so that it can be revoked.

    Args:
        scopes: any of `functions.shared.grant.SCOPES`.
        namespaces: traversal paths such as `27/28/`, or `*` for all.
        expires: lifetime from now.
    """
    now = datetime.now(UTC)
    claims = {
        "sub": sub,
        "scope": " ".join(scopes),
        "namespaces": list(namespaces),
        "iat": now,
        "exp": now + expires,
        "jti": str(uuid4()),
    }
    return jwt.encode(claims, secret, algorithm="HS256")
