"""Cross-origin requests (CORS): which web pages may call the API from a browser.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

ANY_ORIGIN = "*"
PREFLIGHT = "OPTIONS"
_HEADER_NAMES = re.compile(r"[A-Za-z0-9_ ,-]{1,1000}")
_SECONDS = "7200"  # for which a browser remembers the answer; Chromium remembers none for longer
_EXPOSED = "Accept-Encoding, WWW-Authenticate, X-Request-Id, x-amzn-Remapped-WWW-Authenticate"


class Cors(msgspec.Struct, frozen=True):
    """The origins whose pages may call the API.

    Tokens travel in the header `Authorization`, which a page must set itself, so no browser sends one by itself.

    Attributes:
        origins: origins like `https://dashboard.example.com`, or `*` for every origin; empty for none.
    """

    origins: frozenset[str] = frozenset()

    def allowed(self, answer: dict[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
        """Adds to an answer for API Gateway that the page which sent the request may read the answer."""
        if self.origins:
            answer["headers"] |= self._headers(_header(event, "origin"))
        return answer

    def preflight(self, event: Mapping[str, Any], methods: str) -> dict[str, Any]:
        """Answers a browser that asks whether a page may send a request.

        Args:
            methods: methods of the route, separated by commas.
        """
        headers = self._headers(_header(event, "origin"))
        if "Access-Control-Allow-Origin" not in headers:
            return {"statusCode": 403, "headers": headers, "body": ""}
        headers |= {"Access-Control-Allow-Methods": methods, "Access-Control-Max-Age": _SECONDS}
        requested = _header(event, "access-control-request-headers")
        if requested and _HEADER_NAMES.fullmatch(requested):
            headers["Access-Control-Allow-Headers"] = requested
        return {"statusCode": 204, "headers": headers, "body": ""}

    def _headers(self, origin: str | None) -> dict[str, str]:
        headers = {"Vary": "Origin"}
        if origin and (origin in self.origins or ANY_ORIGIN in self.origins):
            headers |= {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED}
        return headers


NO_ORIGINS = Cors()


def _header(event: Mapping[str, Any], name: str) -> str | None:
    headers = event.get("headers") or {}
    return next((value for key, value in headers.items() if key.lower() == name and isinstance(value, str)), None)
