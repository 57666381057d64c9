"""The API, the consumer and the sync behind an address on this machine, for programs that send and ask by HTTP."""

import base64
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug import Request, Response

from tests.support.http_server import served

type Function = Callable[[dict[str, Any], Any], dict[str, Any]]


@contextmanager
def serving(functions: dict[str, Function], after_request: Callable[[], object] = lambda: None) -> Iterator[str]:
    """Yields the address at which the functions answer, by the paths of their routes.

    Args:
        after_request: called after each answered request, before the answer is sent.
    """
    lock = threading.Lock()  # a function answers one request at a time

    @Request.application
    def application(request: Request) -> Response:
        event = {
            "httpMethod": request.method,
            "resource": request.path,
            "path": request.path,
            "headers": dict(request.headers),
            "body": base64.b64encode(request.get_data()).decode(),
            "isBase64Encoded": True,
        }
        with lock:
            answer = functions[request.path](event, None)
            after_request()
        return Response(answer["body"], answer["statusCode"], answer["headers"])

    with served(application) as address:
        yield address
