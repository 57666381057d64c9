"""Parses an HTTP request to a `Query`."""

import base64
import binascii
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from graphql import GraphQLError

from functions.graphql.documents import InvalidQuery
from functions.graphql.limits import MAX_BODY_BYTES, check_variables

# URL parameters that clients send a query in by GET.
_BYTE_ORDER_MARK = "\ufeff".encode()
_QUERY_PARAMETERS = frozenset({"query", "variables", "operationName", "extensions", "documentId", "id"})


class RequestError(Exception):
    """An HTTP request without a valid query. The answer has this status and message, and adds the headers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class MalformedRequest(Exception):
    """A request that is no GraphQL request; the error is for the client."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.error = GraphQLError(message, extensions={"code": code} if code else None)


class Query(msgspec.Struct, frozen=True):
    """A query with its variables and operation name."""

    text: str
    variables: dict[str, Any] | None
    operation_name: str | None


def check_url_parameters(parameters: Collection[str]) -> None:
    """Checks that a GET request has no query in its URL.

    Raises:
        RequestError: a URL parameter holds a query.
    """
    if not _QUERY_PARAMETERS.isdisjoint(parameters):
        raise RequestError(405, 'Send queries by POST, with a body like {"query": "…", "variables": {}}.')


def parse_query(body: str, *, is_base64: bool) -> Query:
    """Parses a request's body.

    Raises:
        RequestError: the body is too large.
        MalformedRequest: the body is not JSON or not one query, or a parameter has the wrong type.
        InvalidQuery: a variable is too large.
    """
    request = _decoded(body, is_base64=is_base64)
    if not isinstance(request, dict):
        raise MalformedRequest('The body must be an object like {"query": "…", "variables": {}} with one query.')
    text, variables, operation_name = (request.get(name) for name in ("query", "variables", "operationName"))
    if not text and _is_persisted(request):
        message = "Persisted queries are not supported: send the query's text."
        raise MalformedRequest(message, "PERSISTED_QUERY_NOT_SUPPORTED")  # Apollo's clients then send the text
    if not text or not isinstance(text, str):
        raise MalformedRequest("query must be a text, and not empty.")
    if not isinstance(variables, dict | None):
        raise MalformedRequest("variables must be an object, or null.")
    if not isinstance(operation_name, str | None):
        raise MalformedRequest("operationName must be a text, or null.")
    if not isinstance(request.get("extensions"), dict | None):
        raise MalformedRequest("extensions must be an object, or null.")
    try:
        check_variables(variables or {})
    except GraphQLError as error:
        raise InvalidQuery([error]) from error
    return Query(text, variables, operation_name)


def _decoded(body: str, *, is_base64: bool) -> Any:
    try:
        content = base64.b64decode(body, validate=True) if is_base64 else body.encode()
        if len(content) > MAX_BODY_BYTES:
            raise RequestError(413, f"The body has {len(content):,} bytes; at most {MAX_BODY_BYTES:,} are allowed.")
        return msgspec.json.decode(content.removeprefix(_BYTE_ORDER_MARK))
    except (binascii.Error, msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise MalformedRequest("The body is not JSON.") from error


def _is_persisted(request: dict[str, Any]) -> bool:
    extensions = request.get("extensions")
    return "documentId" in request or (isinstance(extensions, dict) and "persistedQuery" in extensions)
