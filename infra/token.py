"""Signs the bearer tokens that both routes ask for."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import jwt


def sign(secret: str, sub: str, scopes: Sequence[str], namespaces: Sequence[str], expires: timedelta) -> str:
    """Return a token (JWT, HS256) for the user with the id `sub`.

    `scopes` are of `events:read`, `events:write` and `events:write:own`; `namespaces` are traversal paths such as
    `27/28/`, or `*` for all; `expires` counts from now.
    """
    claims = {
        "sub": sub,
        "scope": " ".join(scopes),
        "namespaces": list(namespaces),
        "exp": datetime.now(UTC) + expires,
    }
    return jwt.encode(claims, secret, algorithm="HS256")
