"""Decides who may query ClickHouse: programs with the password, but no web pages of other sites."""

import base64
import binascii
import hmac
from collections.abc import Mapping
from email.message import Message

from infra.local import ports

USER = "default"

_SAME_SITE = {"same-origin", "none"}


def is_foreign(headers: Message, port: int) -> bool:
    """Whether a request comes from another site's page, or uses a foreign host name (DNS rebinding).

    A page's requests carry its `Origin`, and as `Host` the name that the browser looked up: a foreign name that
    resolves to this machine is still foreign.
    """
    own = {f"{name}:{port}" for name in (ports.HOST, "localhost", "[::1]")}
    hosts = headers.get_all("Host", [])
    return (
        len(hosts) != 1
        or hosts[0].strip().lower() not in own
        or any(origin.strip().lower().removeprefix("http://") not in own for origin in headers.get_all("Origin", []))
        or any(site.strip().lower() not in _SAME_SITE for site in headers.get_all("Sec-Fetch-Site", []))
    )


def is_known(headers: Message, parameters: Mapping[str, str], password: str) -> bool:
    """Whether the request has the right user and password, in any form that a ClickHouse server accepts.

    Args:
        parameters: query parameters of the URL.
    """
    user, given = _credentials(headers, parameters)
    # Both are always compared, so that the duration reveals nothing.
    return _equal(user, USER) & _equal(given, password)


def _credentials(headers: Message, parameters: Mapping[str, str]) -> tuple[str, str]:
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", USER), headers.get("X-ClickHouse-Key", "")
    kind, _, encoded = headers.get("Authorization", "").partition(" ")
    if kind.lower() == "basic":
        try:
            user, _, given = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, given
    return parameters.get("user", USER), parameters.get("password", "")


def _equal(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode("utf-8", "surrogateescape"), right.encode())
