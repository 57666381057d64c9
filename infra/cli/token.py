"""Signs the bearer tokens that both routes ask for."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import jwt


def sign(secret: str, sub: str, scopes: Sequence[str], namespaces: Sequence[str], expires: timedelta) -> str:
    """Return a token (JWT, HS256) for the user with the id `sub`.

    `scopes` are of `events:read`, `events:write`, `events:write:own` and `directory:write`; `namespaces` are traversal
    paths such as `27/28/`, or `*` for all; `expires` counts from now. The token has an id and says when it was issued,
    so that it can be revoked.
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
