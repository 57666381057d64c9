"""What a request asks for."""

import base64
import binascii
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from graphql import GraphQLError

from functions.graphql.documents import InvalidQuery
from functions.graphql.limits import MAX_BODY_BYTES, check_variables

# What clients put in the address of a GET request that is a query.
_QUERY_PARAMETERS = frozenset({"query", "variables", "operationName", "extensions", "documentId", "id"})


class Refused(Exception):
    """A request that no query is run for; the answer has these headers beside its own."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class Query(msgspec.Struct, frozen=True):
    """A query as it was sent."""

    text: str
    variables: dict[str, Any] | None
    operation_name: str | None


def check_address(parameters: Collection[str]) -> None:
    """Refuses a query that is in the parameters of the address.

    Raises:
        Refused: there is one.
    """
    if not _QUERY_PARAMETERS.isdisjoint(parameters):
        raise Refused(405, 'Queries are sent by POST, as a body like {"query": "…", "variables": {}}.')


def query_of(body: str, *, is_base64: bool) -> Query:
    """The query that a body holds.

    Raises:
        Refused: it holds none, or another number than one.
        InvalidQuery: a part of it has the wrong type, or is too large.
    """
    request = _decoded(body, is_base64=is_base64)
    if not isinstance(request, dict):
        raise Refused(400, 'The body must be an object like {"query": "…", "variables": {}}; one query a request.')
    text, variables, operation_name = (request.get(name) for name in ("query", "variables", "operationName"))
    if not text and _is_persisted(request):
        raise Refused(400, "Persisted queries are not supported: send the text of the query.")
    if not text or not isinstance(text, str):
        raise InvalidQuery([GraphQLError("query must be a text that is not empty.")])
    if not isinstance(variables, dict | None):
        raise InvalidQuery([GraphQLError("variables must be an object, or null.")])
    if not isinstance(operation_name, str | None):
        raise InvalidQuery([GraphQLError("operationName must be a text, or null.")])
    try:
        check_variables(variables or {})
    except GraphQLError as error:
        raise InvalidQuery([error]) from error
    return Query(text, variables, operation_name)


def _decoded(body: str, *, is_base64: bool) -> Any:
    try:
        content = base64.b64decode(body, validate=True) if is_base64 else body.encode()
        if len(content) > MAX_BODY_BYTES:
            raise Refused(413, f"The body has {len(content):,} bytes; at most {MAX_BODY_BYTES:,} are taken.")
        return msgspec.json.decode(content)
    except (binascii.Error, msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refused(400, "The body is not JSON.") from error


def _is_persisted(request: dict[str, Any]) -> bool:
    extensions = request.get("extensions")
    return "documentId" in request or (isinstance(extensions, dict) and "persistedQuery" in extensions)
