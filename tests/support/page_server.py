"""Serves the GraphQL function to a browser on this machine, as API Gateway does below the name of its stage."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug import Request, Response
from werkzeug.serving import WSGIRequestHandler, make_server

from functions.graphql.handler import GraphqlHandler

STAGE = "/live"
_ROUTES = ("/graphql", "/dashboard")


class _QuietHandler(WSGIRequestHandler):
    def log_request(self, *_: Any) -> None:
        pass


@contextmanager
def serving(handler: GraphqlHandler) -> Iterator[str]:
    """Yields the address of the API while the block runs."""
    lock = threading.Lock()  # a function answers one request at a time

    @Request.application
    def application(request: Request) -> Response:
        event = _event(request)
        if event is None:
            return Response(json.dumps({"message": "Missing Authentication Token"}), 403)
        with lock:
            answer = handler(event, None)
        return Response(answer["body"], answer["statusCode"], answer["headers"])

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{STAGE}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _event(request: Request) -> dict[str, Any] | None:
    path = request.path.removeprefix(STAGE)
    below = path.removeprefix("/dashboard/") if path.startswith("/dashboard/") else ""
    resource = "/dashboard/{path+}" if below else path.rstrip("/")
    if not request.path.startswith(STAGE) or not resource.startswith(_ROUTES):
        return None
    return {
        "httpMethod": request.method,
        "resource": resource,
        "path": path,
        "pathParameters": {"path": below} if below else None,
        "headers": dict(request.headers),
        "queryStringParameters": dict(request.args) or None,
        "body": request.get_data(as_text=True),
        "isBase64Encoded": False,
    }
