"""Serves the GraphQL function to a browser on this machine, as API Gateway does below the name of its stage."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug import Request, Response

from functions.graphql.handler import GraphqlHandler
from tests.support.http_server import served

STAGE = "/live"
_ROUTES = ("/graphql", "/dashboard")


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

    with served(application) as address:
        yield f"{address}{STAGE}"


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
