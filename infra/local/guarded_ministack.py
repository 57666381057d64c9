"""Runs MiniStack closed to web pages; this file runs in MiniStack's own environment.

MiniStack allows every web page to read its answers. Programs on this machine still need no password.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_THIS_MACHINE = {"127.0.0.1", "localhost", "::1"}
_REFUSAL = b"Web pages and host names of other sites may not use the local AWS endpoint.\n"


def guarded(app: App) -> App:
    """Wraps the ASGI application; refuses requests of other sites' pages or for foreign host names (DNS rebinding)."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or not _is_foreign(scope["headers"]):
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"connection", b"close")]})
            await send({"type": "http.response.body", "body": _REFUSAL})

    return answer


def _is_foreign(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    for name, value in headers:
        text = value.decode("latin-1").strip().lower()
        match name.lower():
            case b"host" if not _is_this_machine(f"//{text}"):
                return True
            case b"origin" if not _is_this_machine(text):
                return True
            case b"sec-fetch-site" if text == "cross-site":
                return True
    return False


def _is_this_machine(url: str) -> bool:
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return False
    return host is not None and (host in _THIS_MACHINE or host.endswith(".localhost"))


if __name__ == "__main__":
    from ministack import app as ministack  # type: ignore[import-not-found]  # only installed in MiniStack's environment

    ministack.app = guarded(ministack.app)
    ministack.main()
