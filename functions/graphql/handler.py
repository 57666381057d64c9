"""`GraphqlHandler`: answers requests to `/graphql` and `/v1/export`, and serves the pages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
from aws_lambda_powertools import Logger
from graphql import GraphQLError, GraphQLSchema

from functions.graphql.context import RequestContext
from functions.graphql.documents import DocumentCache, InvalidQuery
from functions.graphql.execution import execute
from functions.graphql.export.answer import ROUTE as EXPORT
from functions.graphql.export.answer import exported_file, url_parameters
from functions.graphql.limits import sendable
from functions.graphql.media_type import AnswerType, Mistake, answer_type, is_json
from functions.graphql.pages import DASHBOARD, METHODS, Pages
from functions.graphql.postgres.directory import PostgresDirectory
from functions.graphql.query.budget import MAX_SECONDS, Deadline
from functions.graphql.query.errors import (
    AnswerTooLarge,
    InvalidArgument,
    QueryTooSlow,
    StoreUnavailable,
    TooManyQueries,
)
from functions.graphql.query.own import OwnDirectory, own_user_id
from functions.graphql.query.store import DirectoryReader
from functions.graphql.query_metrics import QueryMetrics
from functions.graphql.request import MalformedRequest, Query, RequestError, check_url_parameters, parse_query
from functions.graphql.schema import executable_schema
from functions.graphql.store_router import StoreRouter
from functions.shared import canary, correlation
from functions.shared.auth import Authenticator, KeysUnavailable, RevocationsUnavailable, Unauthenticated
from functions.shared.catalog.registry import Registry, load
from functions.shared.cors import NO_ORIGINS, PREFLIGHT, Cors
from functions.shared.failure import redacted
from functions.shared.grant import Grant
from functions.shared.postgres import Database
from functions.shared.role_settings import GRAPHQL_LIMITS, GRAPHQL_OPTIONS
from functions.shared.secret import UrlSource
from functions.shared.settings import AuthSettings
from functions.shared.tenant import tenant_of
from functions.shared.timestamp import utc_now

# Enough errors, and enough of each message, to find the mistake.
_MAX_ERRORS = 100
_MAX_MESSAGE_CHARACTERS = 300

_WENT_WRONG = "Something went wrong on our side; the log knows it as {}."
_UNREACHABLE = "The database can't be reached; try again. The log knows it as {}."
_TOO_SLOW = "The query took too long: ask for fewer days, events or namespaces."
_TOO_SLOW_OVER_DAYS = "The query took too long over {:,} days: ask for fewer days, or for fewer events or namespaces."
_MANY_DAYS = 31

_PAGES = Path(__file__).with_name("pages")  # where the package has what the build made


def build(
    *,
    auth: AuthSettings,
    database_url: UrlSource,
    clickhouse_url: UrlSource | None = None,
    introspection: bool = True,
    cors_origins: frozenset[str] = frozenset(),
    web_base_url: str | None = None,
    log_level: str = "INFO",
    registry: Registry | None = None,
    pages: Path = _PAGES,
) -> "GraphqlHandler":
    """Builds the handler. The handler connects to the stores only when needed.

    Args:
        registry: the definitions; by default those in `definitions/`.
        pages: the folder with the pages that the build made.
    """
    registry = registry or load()
    schema = executable_schema(registry)
    database = Database(database_url, GRAPHQL_LIMITS, GRAPHQL_OPTIONS)
    return GraphqlHandler(
        logger=Logger(level=log_level),
        authenticator=Authenticator(auth),
        database=database,
        stores=StoreRouter(database, clickhouse_url),
        registry=registry,
        schema=schema,
        documents=DocumentCache(schema, introspection=introspection),
        introspection=introspection,
        pages=Pages(pages),
        cors=Cors(cors_origins),
        web_base_url=web_base_url,
    )


@dataclass(slots=True)
class GraphqlHandler:
    """Answers API Gateway's requests.

    Attributes:
        schema: the schema of the definitions in `registry`.
        documents: cache of parsed and validated queries.
        introspection: whether clients may read the schema, and errors may suggest names of the schema.
        pages: the dashboard, and the page to try queries.
        cors: the origins whose pages may query.
        web_base_url: what addresses of users' pages begin with; None if unknown.
        max_seconds: time limit of a query.
        now: returns the present moment, in UTC.
        metrics: measures the answer to the present request.
    """

    logger: Logger
    authenticator: Authenticator
    database: Database
    stores: StoreRouter
    registry: Registry
    schema: GraphQLSchema
    documents: DocumentCache
    introspection: bool
    pages: Pages
    cors: Cors = NO_ORIGINS
    web_base_url: str | None = None
    max_seconds: float = MAX_SECONDS
    now: Callable[[], datetime] = utc_now
    metrics: QueryMetrics = field(default_factory=QueryMetrics)

    def __call__(self, event: dict[str, Any], _: object) -> dict[str, Any]:
        """Answers API Gateway's request."""
        request_id, self.metrics = correlation.begin(event), QueryMetrics()
        if event.get("httpMethod") == PREFLIGHT:
            answer = self.cors.preflight(event, "GET, POST")
        else:
            self.logger.append_keys(request_id=request_id)
            answer = self.cors.allowed(self._answered(event), event)
            self.metrics.emit(request_id)
        return correlation.answered(answer, request_id)

    def _answered(self, event: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._respond(event)
        except RequestError as error:
            self.logger.info("refused", extra={"status": error.status})
            self.metrics.has_failed |= error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
            return _response(error.status, _encode({"message": str(error)}), headers=error.headers)
        except Exception as error:  # noqa: BLE001 - the answer names the log entry of any error
            return _response(500, _encode({"message": _WENT_WRONG.format(self._log_error(error))}))

    def _respond(self, event: dict[str, Any]) -> dict[str, Any]:
        if event.get("resource") == EXPORT:
            return self._export(event, self._authorise(event))
        if str(event.get("resource") or "").startswith(DASHBOARD):
            return self.pages.dashboard(event)
        if event["httpMethod"] in METHODS:
            check_url_parameters(event.get("queryStringParameters") or ())
            return self.pages.editor(event)
        grant = self._authorise(event, canaries_too=True)
        self.metrics.is_of_canary = grant.is_canary
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        if not is_json(headers.get("content-type")):
            raise RequestError(415, "Send queries with Content-Type: application/json, in UTF-8.")
        answered = answer_type(headers.get("accept"))
        status, body = self._status_and_body(event, grant, answered)
        return _response(status, body, answered.content_type)

    def _status_and_body(self, event: dict[str, Any], grant: Grant, answered: AnswerType) -> tuple[int, str]:
        try:
            query = parse_query(event.get("body") or "", is_base64=bool(event.get("isBase64Encoded")))
            if grant.is_canary and query.text != canary.QUERY:
                raise RequestError(403, "The token of a canary may only send the query of canaries.")
            return 200, self._answer(grant, query)
        except MalformedRequest as malformed:
            return answered.status(Mistake.REQUEST), _encode({"errors": [self._client_error(malformed.error)]})
        except InvalidQuery as invalid:
            errors = [self._client_error(error) for error in invalid.errors]
            return answered.status(Mistake.QUERY), _encode({"errors": errors})
        except AnswerTooLarge as error:
            return answered.status(Mistake.QUERY), _encode({"errors": [{"message": str(error)}]})
        except QueryTooSlow:  # before the query's first field
            self.metrics.has_failed = True
            status = 503 if answered is AnswerType.GRAPHQL else 200
            return status, _encode({"errors": [{"message": _TOO_SLOW}]})

    def _authorise(self, event: dict[str, Any], *, canaries_too: bool = False) -> Grant:
        try:
            grant = self.authenticator.grant(event.get("headers"))
        except Unauthenticated as error:
            raise RequestError(401, str(error), {"WWW-Authenticate": error.challenge}) from error
        except (KeysUnavailable, RevocationsUnavailable) as error:
            raise RequestError(503, str(error)) from error
        if not grant.may_read and not (canaries_too and grant.is_canary):
            raise RequestError(403, "The token needs the scope events:read or events:read:own.")
        if not grant.reads_own_only:
            return grant
        if grant.user_id is None:
            raise RequestError(403, "The scope events:read:own needs a token whose sub is a user's id, a number.")
        return msgspec.structs.replace(grant, namespaces=())  # such a token reads no namespace, whatever it writes to

    def _export(self, event: dict[str, Any], grant: Grant) -> dict[str, Any]:
        """Answers with a file of events."""
        try:
            parameters = url_parameters(event)
            file = exported_file(parameters, self._context(grant), self.schema, suggestions=self.introspection)
        except (QueryTooSlow, psycopg.errors.QueryCanceled) as error:
            raise RequestError(503, _TOO_SLOW) from error
        except TooManyQueries as error:
            raise RequestError(429, str(error)) from error
        except (StoreUnavailable, psycopg.OperationalError) as error:
            self.stores.check_again()
            raise RequestError(503, _UNREACHABLE.format(self._log_error(error))) from error
        return _response(200, file.body, headers=file.headers)

    def _context(self, grant: Grant) -> RequestContext:
        directory: DirectoryReader = PostgresDirectory(self.database, grant)
        if grant.reads_own_only:
            directory = OwnDirectory(directory, own_user_id(grant))
        context = RequestContext(
            grant,
            self.registry,
            self.stores,
            directory,
            self.now().date(),
            deadline=Deadline(self.max_seconds),
            web_base_url=self.web_base_url,
        )
        self.metrics.reads, self.metrics.tenant = context.reads, tenant_of(grant)
        return context

    def _answer(self, grant: Grant, query: Query) -> str:
        context = self._context(grant)
        document = self.documents.document(query.text)
        context.plans = document.plans
        result = execute(self.schema, document, query, context, suggestions=self.introspection)
        if result.data is None and result.errors and all(error.path is None for error in result.errors):
            raise InvalidQuery(result.errors)  # no field was executed: which operation, or its variables, are at fault
        answer: dict[str, Any] = {"data": result.data}
        if result.errors:
            answer["errors"] = [self._client_error(error) for error in result.errors[:_MAX_ERRORS]]
        if context.source is not None:
            answer["extensions"] = {"source": context.source.name}
        return sendable(msgspec.json.encode(answer))

    def _client_error(self, error: GraphQLError) -> dict[str, Any]:
        """The error as the client sees it: a mistake in the query with its message, any other with an id of the log."""
        formatted: dict[str, Any] = dict(error.formatted)
        original = error.original_error
        if isinstance(original, QueryTooSlow | psycopg.errors.QueryCanceled):
            self.metrics.has_failed = True
            days = original.days if isinstance(original, QueryTooSlow) else 0
            formatted["message"] = _TOO_SLOW_OVER_DAYS.format(days) if days > _MANY_DAYS else _TOO_SLOW
        elif isinstance(original, StoreUnavailable | psycopg.OperationalError):
            self.stores.check_again()
            formatted["message"] = _UNREACHABLE.format(self._log_error(original))
        elif error.path is not None and original is not None and not _is_client_error(original):
            formatted["message"] = _WENT_WRONG.format(self._log_error(original))
        elif len(error.message) > _MAX_MESSAGE_CHARACTERS:
            formatted["message"] = f"{error.message[:_MAX_MESSAGE_CHARACTERS]}…"
        return formatted

    def _log_error(self, error: Exception) -> str:
        """Logs an unexpected error under a new id, and returns the id."""
        self.metrics.has_failed = True
        error_id = str(uuid4())
        self.logger.error("A request failed", extra={"error_id": error_id}, exc_info=redacted(error))
        return error_id


def _is_client_error(original: Exception) -> bool:
    """Whether a field's error is a mistake in the query."""
    if isinstance(original, GraphQLError):
        return original.nodes is not None  # errors of serialising a result have no nodes
    return isinstance(original, InvalidArgument | TooManyQueries)


def _encode(answer: Any) -> str:
    return msgspec.json.encode(answer).decode()


def _response(
    status: int, body: str, content_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    sent = {"Content-Type": content_type, **(headers or {})}
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        sent.setdefault("Allow", "GET, POST")
    return {"statusCode": status, "headers": sent, "body": body}
