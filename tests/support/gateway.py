"""API Gateway in process: turns requests into events for the ingest API, and its answers into responses."""

import base64
from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug import Request, Response

from tests.support.ways_in import WaysIn

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Gateway:
    """A WSGI application before the running test's ingest API.

    Attributes:
        ways: fixture `ways` of the running test.
    """

    ways: WaysIn

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        event = {
            "resource": request.path,
            "path": request.path,
            "headers": dict(request.headers),
            "body": base64.b64encode(request.get_data()).decode(),
            "isBase64Encoded": True,
        }
        answer = self.ways.api(event, None)
        return Response(answer["body"], answer["statusCode"], answer["headers"])(environ, start_response)
