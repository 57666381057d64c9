"""`Pages`: serves the dashboard and GraphiQL, which the build made from `functions/dashboard`, to anybody.

Nothing that these pages hold is secret: what they show, they ask for with the reader's token. All files are text,
because API Gateway passes a function's text on unchanged, and compresses it. It would decode a binary body from base64
only if it encoded every request's body too.
"""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from functions.graphql.request import RequestError

DASHBOARD = "/dashboard"
PATH = "path"  # the route's name of what follows
METHODS = ("GET", "HEAD")

_DASHBOARD_PAGE = "index.html"
_EDITOR_PAGE = "graphiql.html"
_ASSETS = "dashboard/assets/"

_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".webmanifest": "application/manifest+json",
}

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self' data:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_STRICT = _POLICY.format(styles="'self'")
_EDITOR = _POLICY.format(styles="'self' 'unsafe-inline'")  # its editor writes styles into the page
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_FOR_EVER = "public, max-age=31536000, immutable"  # another content has another name
_ASK_AGAIN = "no-cache"

_NOT_BUILT = "This deployment holds no pages: they were not built."
_NO_SUCH_PAGE = "There is no such page."


class _File(msgspec.Struct, frozen=True):
    text: str
    digest: str


class Pages:
    """The files of one folder, which the build filled, each read when it is first asked for.

    Args:
        folder: may be missing; there are no pages then.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, _File] = {}

    def editor(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Answers API Gateway's request for GraphiQL, the page to try queries.

        Raises:
            RequestError: there are no pages.
        """
        return self._answer(event, _EDITOR_PAGE)

    def dashboard(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Answers API Gateway's request for the dashboard, or for a file that one of the pages needs.

        Raises:
            RequestError: the method is another one, there are no pages, or there is no such file.
        """
        if event["httpMethod"] not in METHODS:
            raise RequestError(405, "The dashboard is only read.", {"Allow": ", ".join(METHODS)})
        below = (event.get("pathParameters") or {}).get(PATH)
        if below is not None:
            return self._answer(event, f"dashboard/{below}")
        if str(event.get("path")).endswith("/"):  # the addresses in the page are relative to one without the slash
            raise RequestError(308, "The dashboard has no slash at its end.", {"Location": "../dashboard"})
        return self._answer(event, _DASHBOARD_PAGE)

    @cached_property
    def _names(self) -> frozenset[str]:
        """The paths of all files. Only what is one of these is read, so that no path leads out of the folder."""
        files = (file for file in self._folder.rglob("*") if file.is_file() and file.suffix in _TYPES)
        return frozenset(file.relative_to(self._folder).as_posix() for file in files)

    def _answer(self, event: Mapping[str, Any], name: str) -> dict[str, Any]:
        if name not in self._names:
            raise RequestError(404, _NO_SUCH_PAGE if self._names else _NOT_BUILT)
        file = self._file(name)
        headers = {
            "Content-Type": f"{_TYPES[Path(name).suffix]}; charset=utf-8",
            "Cache-Control": _FOR_EVER if name.startswith(_ASSETS) else _ASK_AGAIN,
            "ETag": f'W/"{file.digest}"',  # weak, because the gateway compresses
            "Content-Security-Policy": _EDITOR if name == _EDITOR_PAGE else _STRICT,
            **_HEADERS,
        }
        if _is_known(file.digest, event):
            return {"statusCode": 304, "headers": headers, "body": ""}
        return {"statusCode": 200, "headers": headers, "body": "" if event["httpMethod"] == "HEAD" else file.text}

    def _file(self, name: str) -> _File:
        if name not in self._read:
            content = (self._folder / name).read_bytes()
            self._read[name] = _File(content.decode(), hashlib.sha256(content).hexdigest()[:32])
        return self._read[name]


def _is_known(digest: str, event: Mapping[str, Any]) -> bool:
    """Whether the browser has this content already."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    known = headers.get("if-none-match")
    return isinstance(known, str) and (known.strip() == "*" or f'"{digest}"' in known)
