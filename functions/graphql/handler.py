"""What Lambda invokes for `/graphql`: answers queries, and serves a page to try them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
from aws_lambda_powertools import Logger
from graphql import GraphQLError, GraphQLSchema

from functions.graphql.context import Reading
from functions.graphql.documents import Documents, InvalidQuery
from functions.graphql.execution import execute
from functions.graphql.limits import check_answer
from functions.graphql.postgres.directory import PostgresDirectory
from functions.graphql.postgres.store import PLANNER_OPTIONS, STATEMENT_SECONDS
from functions.graphql.query.budget import MAX_SECONDS, Deadline
from functions.graphql.query.errors import InvalidArgument, QueryTooSlow, StoreUnavailable, TooManyQueries
from functions.graphql.request import Query, Refused, check_address, query_of
from functions.graphql.schema import executable_schema
from functions.graphql.store_router import Sources
from functions.shared.auth import Authenticator, KeysUnavailable, RevocationsUnavailable, Unauthenticated
from functions.shared.catalog.registry import Registry, load
from functions.shared.failure import withheld
from functions.shared.grant import Grant
from functions.shared.postgres import Database, TimeLimits
from functions.shared.settings import AuthSettings
from functions.shared.timestamp import utc_now

# Enough to see what is wrong, however often it is.
_MOST_ERRORS = 100
_LONGEST_MESSAGE = 300

_WENT_WRONG = "Something went wrong on our side; the log knows it as {}."
_UNREACHABLE = "The database can't be reached; try again. The log knows it as {}."
_TOO_SLOW = "The query took too long: ask for fewer days, events or namespaces."

_TIME_LIMITS = TimeLimits(statement=STATEMENT_SECONDS, transaction=25)


def build(
    *,
    auth: AuthSettings,
    database_url: str,
    clickhouse_url: str | None = None,
    introspection: bool = True,
    log_level: str = "INFO",
    registry: Registry | None = None,
) -> "GraphqlHandler":
    """The handler for these settings, which connects to nothing yet.

    Args:
        registry: the definitions, where they are not those that the project ships.
    """
    registry = registry or load()
    schema = executable_schema(registry)
    database = Database(database_url, _TIME_LIMITS, PLANNER_OPTIONS)
    return GraphqlHandler(
        logger=Logger(level=log_level),
        authenticator=Authenticator(auth),
        database=database,
        sources=Sources(database, clickhouse_url),
        registry=registry,
        schema=schema,
        documents=Documents(schema, introspection=introspection),
        introspection=introspection,
        explorer=Path(__file__).with_name("explorer.html").read_text(),
    )


@dataclass(slots=True)
class GraphqlHandler:
    """Answers API Gateway's requests.

    Attributes:
        schema: what the definitions in `registry` come to.
        documents: of the queries that the schema was last asked.
        introspection: whether clients may ask for the schema, and are told what is like a name that they got wrong.
        explorer: the page to try queries.
        max_seconds: how long a query may take.
        now: the present moment, in UTC.
    """

    logger: Logger
    authenticator: Authenticator
    database: Database
    sources: Sources
    registry: Registry
    schema: GraphQLSchema
    documents: Documents
    introspection: bool
    explorer: str
    max_seconds: float = MAX_SECONDS
    now: Callable[[], datetime] = utc_now

    def __call__(self, event: dict[str, Any], _: object) -> dict[str, Any]:
        """Answers API Gateway's request."""
        try:
            return self._answered(event)
        except Refused as refused:
            self.logger.info("refused", extra={"status": refused.status})
            return _response(refused.status, _encoded({"message": str(refused)}), headers=refused.headers)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client can name it to us
            return _response(500, _encoded({"message": _WENT_WRONG.format(self._logged(error))}))

    def _answered(self, event: dict[str, Any]) -> dict[str, Any]:
        if event["httpMethod"] == "GET":
            check_address(event.get("queryStringParameters") or ())
            return _response(200, self.explorer, "text/html; charset=utf-8")
        grant = self._reader(event)
        try:
            query = query_of(event.get("body") or "", is_base64=bool(event.get("isBase64Encoded")))
            return _response(200, self._answer(grant, query))
        except InvalidQuery as invalid:
            return _response(200, _encoded({"errors": [self._shown(error) for error in invalid.errors]}))

    def _reader(self, event: dict[str, Any]) -> Grant:
        try:
            grant = self.authenticator.grant(event.get("headers"))
        except Unauthenticated as error:
            raise Refused(401, str(error), {"WWW-Authenticate": error.challenge}) from error
        except (KeysUnavailable, RevocationsUnavailable) as error:
            raise Refused(503, str(error)) from error
        if not grant.may_read:
            raise Refused(403, "The token needs the scope events:read.")
        return grant

    def _answer(self, grant: Grant, query: Query) -> str:
        reading = Reading(
            grant,
            self.registry,
            self.sources,
            PostgresDirectory(self.database, grant),
            self.now().date(),
            deadline=Deadline(self.max_seconds),
        )
        document = self.documents.document(query.text)
        result = execute(self.schema, document, query, reading, suggestions=self.introspection)
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = [self._shown(error) for error in result.errors[:_MOST_ERRORS]]
        if reading.source is not None:
            answer["extensions"] = {"source": reading.source.name}
        body = _encoded(answer)
        try:
            check_answer(body)
        except GraphQLError as error:
            raise InvalidQuery([error]) from error
        return body

    def _shown(self, error: GraphQLError) -> dict[str, Any]:
        """What the client is told of an error: all of its own mistakes, and of ours an id that is in the log."""
        shown: dict[str, Any] = dict(error.formatted)
        original = error.original_error
        if isinstance(original, QueryTooSlow | psycopg.errors.QueryCanceled):
            shown["message"] = _TOO_SLOW
        elif isinstance(original, StoreUnavailable | psycopg.OperationalError):
            self.sources.check_again()
            shown["message"] = _UNREACHABLE.format(self._logged(original))
        elif error.path is not None and original is not None and not _is_of_the_client(original):
            shown["message"] = _WENT_WRONG.format(self._logged(original))
        elif len(error.message) > _LONGEST_MESSAGE:
            shown["message"] = f"{error.message[:_LONGEST_MESSAGE]}…"
        return shown

    def _logged(self, error: Exception) -> str:
        """Logs an unexpected error; returns the id that it has there."""
        error_id = str(uuid4())
        self.logger.error("A request failed", extra={"error_id": error_id}, exc_info=withheld(error))
        return error_id


def _is_of_the_client(original: Exception) -> bool:
    """Whether a field's error is a mistake in the query; one of a result that can't be shown names no part of it."""
    if isinstance(original, GraphQLError):
        return original.nodes is not None
    return isinstance(original, InvalidArgument | TooManyQueries)


def _encoded(answer: Any) -> str:
    return msgspec.json.encode(answer).decode()


def _response(
    status: int, body: str, content_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    sent = {"Content-Type": content_type, **(headers or {})}
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        sent["Allow"] = "GET, POST"
    return {"statusCode": status, "headers": sent, "body": body}
