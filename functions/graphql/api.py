"""Lambda function behind `/graphql`: answers queries, and serves a page to try them."""

import base64
import binascii
import logging
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
from ariadne import graphql_sync
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from graphql import GraphQLError

from functions.graphql.arguments import InvalidArgument
from functions.graphql.event_query import QueryTooSlow, StoreUnavailable
from functions.graphql.postgres_store import PLANNER_OPTIONS, PostgresDirectory
from functions.graphql.resolvers import Reading
from functions.graphql.schema import executable_schema
from functions.graphql.source import Sources
from functions.shared import settings
from functions.shared.auth import Authenticator, Unauthenticated
from functions.shared.grant import Grant
from functions.shared.postgres import Database, TimeLimits
from functions.shared.registry import load

logger = Logger(level=settings.log_level())
logging.getLogger("ariadne").setLevel(logging.CRITICAL)  # what it would log of errors, `_shown` logs
authenticator = Authenticator(settings.auth())
database = Database(settings.database_url(), TimeLimits(statement=20, transaction=25), PLANNER_OPTIONS)
sources = Sources(database, settings.clickhouse_url())
registry = load()
schema = executable_schema(registry)
explorer = Path(__file__).with_name("explorer.html").read_text()


class Refused(Exception):
    """A request that no query is run for."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def handler(event: dict[str, Any], _: LambdaContext) -> dict[str, Any]:
    """Answers API Gateway's request."""
    if event["httpMethod"] == "GET":
        return _response(200, explorer, "text/html; charset=utf-8")
    try:
        answer = _answer(_reader(event), _query(event))
    except Refused as refused:
        logger.info("refused", extra={"status": refused.status, "reason": str(refused)})
        return _response(refused.status, msgspec.json.encode({"message": str(refused)}).decode())
    return _response(200, answer)


def _reader(event: dict[str, Any]) -> Grant:
    try:
        grant = authenticator.grant(event.get("headers"))
    except Unauthenticated as error:
        raise Refused(401, str(error)) from error
    if not grant.may_read:
        raise Refused(403, "The token needs the scope events:read.")
    return grant


def _query(event: dict[str, Any]) -> dict[str, Any]:
    body = event.get("body") or ""
    try:
        content = base64.b64decode(body, validate=True) if event.get("isBase64Encoded") else body
        query = msgspec.json.decode(content)
    except (binascii.Error, msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refused(400, "The body is not JSON.") from error
    if not isinstance(query, dict):
        raise Refused(400, 'The body must be an object like {"query": "…", "variables": {}}; one query a request.')
    return query


def _answer(grant: Grant, query: dict[str, Any]) -> str:
    reading = Reading(grant, registry, sources, PostgresDirectory(database))
    _, answer = graphql_sync(schema, query, context_value=reading, error_formatter=_shown)
    if reading.source is not None:
        answer["extensions"] = {"source": reading.source.name}
    return msgspec.json.encode(answer).decode()


def _shown(error: GraphQLError, _: bool) -> dict[str, Any]:
    """What the client is told of an error: all of its own mistakes, and of ours an id that is in the log."""
    shown = dict(error.formatted)
    original = error.original_error
    if isinstance(original, QueryTooSlow | psycopg.errors.QueryCanceled):
        shown["message"] = "The query took too long: ask for fewer days, events or namespaces."
    elif error.path is not None and not isinstance(original, InvalidArgument | GraphQLError | None):
        error_id = str(uuid4())
        logger.error("A query failed", extra={"error_id": error_id}, exc_info=original)
        shown["message"] = f"Something went wrong on our side; the log knows it as {error_id}."
        if isinstance(original, StoreUnavailable | psycopg.OperationalError):
            sources.check_again()
            shown["message"] = f"The database can't be reached; try again. The log knows it as {error_id}."
    return shown


def _response(status: int, body: str, content_type: str = "application/json") -> dict[str, Any]:
    return {"statusCode": status, "headers": {"Content-Type": content_type}, "body": body}
