"""Lambda function behind `/graphql`: answers queries, and serves a page to try them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from graphql import GraphQLError

from functions.graphql.context import RequestContext
from functions.graphql.documents import Documents, InvalidQuery
from functions.graphql.execution import execute
from functions.graphql.limits import check_answer
from functions.graphql.postgres.directory import PostgresDirectory
from functions.graphql.postgres.store import PLANNER_OPTIONS, STATEMENT_SECONDS
from functions.graphql.query.errors import InvalidArgument, QueryTooSlow, StoreUnavailable, TooManyQueries
from functions.graphql.request import Query, Refused, check_address, query_of
from functions.graphql.schema import executable_schema
from functions.graphql.store_router import Sources
from functions.shared import settings
from functions.shared.auth import Authenticator, KeysUnavailable, RevocationsUnavailable, Unauthenticated
from functions.shared.catalog.registry import load
from functions.shared.failure import withheld
from functions.shared.grant import Grant
from functions.shared.postgres import Database, TimeLimits

# Enough to see what is wrong, however often it is.
_MAX_ERRORS = 100
_MAX_MESSAGE_CHARACTERS = 300

_WENT_WRONG = "Something went wrong on our side; the log knows it as {}."
_UNREACHABLE = "The database can't be reached; try again. The log knows it as {}."
_TOO_SLOW = "The query took too long: ask for fewer days, events or namespaces."

logger = Logger(level=settings.log_level())
authenticator = Authenticator(settings.auth())
database = Database(settings.database_url(), TimeLimits(statement=STATEMENT_SECONDS, transaction=25), PLANNER_OPTIONS)
sources = Sources(database, settings.clickhouse_url())
registry = load()
schema = executable_schema(registry)
introspection = settings.graphql_introspection()
documents = Documents(schema, introspection=introspection)
explorer = Path(__file__).with_name("explorer.html").read_text()


def handler(event: dict[str, Any], _: LambdaContext) -> dict[str, Any]:
    """Answers API Gateway's request."""
    try:
        return _respond(event)
    except Refused as refused:
        logger.info("refused", extra={"status": refused.status})
        return _response(refused.status, _encode({"message": str(refused)}), headers=refused.headers)
    except Exception as error:  # noqa: BLE001 - whatever it is, the client can name it to us
        return _response(500, _encode({"message": _WENT_WRONG.format(_log_error(error))}))


def _respond(event: dict[str, Any]) -> dict[str, Any]:
    if event["httpMethod"] == "GET":
        check_address(event.get("queryStringParameters") or ())
        return _response(200, explorer, "text/html; charset=utf-8")
    grant = _authorise(event)
    try:
        query = query_of(event.get("body") or "", is_base64=bool(event.get("isBase64Encoded")))
        return _response(200, _answer(grant, query))
    except InvalidQuery as invalid:
        return _response(200, _encode({"errors": [_client_error(error) for error in invalid.errors]}))


def _authorise(event: dict[str, Any]) -> Grant:
    try:
        grant = authenticator.grant(event.get("headers"))
    except Unauthenticated as error:
        raise Refused(401, str(error), {"WWW-Authenticate": error.challenge}) from error
    except (KeysUnavailable, RevocationsUnavailable) as error:
        raise Refused(503, str(error)) from error
    if not grant.may_read:
        raise Refused(403, "The token needs the scope events:read.")
    return grant


def _answer(grant: Grant, query: Query) -> str:
    context = RequestContext(grant, registry, sources, PostgresDirectory(database, grant), datetime.now(UTC).date())
    result = execute(schema, documents.document(query.text), query, context, suggestions=introspection)
    answer: dict[str, Any] = {"data": result.data}
    if result.errors:
        answer["errors"] = [_client_error(error) for error in result.errors[:_MAX_ERRORS]]
    if context.source is not None:
        answer["extensions"] = {"source": context.source.name}
    body = _encode(answer)
    try:
        check_answer(body)
    except GraphQLError as error:
        raise InvalidQuery([error]) from error
    return body


def _client_error(error: GraphQLError) -> dict[str, Any]:
    """What the client is told of an error: all of its own mistakes, and of ours an id that is in the log."""
    shown: dict[str, Any] = dict(error.formatted)
    original = error.original_error
    if isinstance(original, QueryTooSlow | psycopg.errors.QueryCanceled):
        shown["message"] = _TOO_SLOW
    elif isinstance(original, StoreUnavailable | psycopg.OperationalError):
        sources.check_again()
        shown["message"] = _UNREACHABLE.format(_log_error(original))
    elif error.path is not None and original is not None and not _is_client_error(original):
        shown["message"] = _WENT_WRONG.format(_log_error(original))
    elif len(error.message) > _MAX_MESSAGE_CHARACTERS:
        shown["message"] = f"{error.message[:_MAX_MESSAGE_CHARACTERS]}…"
    return shown


def _is_client_error(original: Exception) -> bool:
    """Whether a field's error is a mistake in the query; one of a result that can't be shown names no part of it."""
    if isinstance(original, GraphQLError):
        return original.nodes is not None
    return isinstance(original, InvalidArgument | TooManyQueries)


def _log_error(error: Exception) -> str:
    """Logs an unexpected error; returns the id that it has there."""
    error_id = str(uuid4())
    logger.error("A request failed", extra={"error_id": error_id}, exc_info=withheld(error))
    return error_id


def _encode(answer: Any) -> str:
    return msgspec.json.encode(answer).decode()


def _response(
    status: int, body: str, content_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    sent = {"Content-Type": content_type, **(headers or {})}
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        sent["Allow"] = "GET, POST"
    return {"statusCode": status, "headers": sent, "body": body}
