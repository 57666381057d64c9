"""Makes the file that `GET /v1/export` answers with, as far as it fits into one answer."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
from graphql import GraphQLSchema

from functions.graphql.context import Coverage, RequestContext
from functions.graphql.export.events import ExportedEvent, exported_events
from functions.graphql.export.filters import read_filters
from functions.graphql.export.formats import csv_header, csv_lines, ndjson_lines
from functions.graphql.query.budget import MAX_ANSWER_BYTES, MAX_NODES
from functions.graphql.query.errors import InvalidArgument
from functions.graphql.query.selection import Selection
from functions.graphql.query.store import (
    ID,
    NAMESPACE_PATH,
    TIMESTAMP,
    USER_ID,
    USERNAME,
    EventPosition,
    EventRow,
    PageWindow,
    RequestedFields,
)
from functions.graphql.request import RequestError
from functions.graphql.types.arguments import MAX_PAGE_SIZE, select
from functions.graphql.types.namespace_node import find_namespace

ROUTE = "/v1/export"
"""The path that is served."""

MAX_EVENTS = MAX_NODES

_WHOLE = RequestedFields(usernames=True, payload=True)
_LESS = "ask for fewer days or with more filters, or use `usage-events export`"


class _Format(NamedTuple):
    content_type: str
    header: bytes
    lines: Callable[[Iterable[ExportedEvent]], bytes]


_FORMATS = {
    "csv": _Format("text/csv; charset=utf-8; header=present", csv_header(), csv_lines),
    "ndjson": _Format("application/x-ndjson", b"", ndjson_lines),
}


class ExportedFile(NamedTuple):
    """A file with events."""

    body: str
    headers: Mapping[str, str]


def url_parameters(event: Mapping[str, Any]) -> dict[str, list[str]]:
    """The texts of each URL parameter of API Gateway's request."""
    single = {name: [text] for name, text in (event.get("queryStringParameters") or {}).items()}
    return single | (event.get("multiValueQueryStringParameters") or {})


def exported_file(
    parameters: Mapping[str, Sequence[str]], context: RequestContext, schema: GraphQLSchema, *, suggestions: bool
) -> ExportedFile:
    """The file with the events that the parameters select, newest first.

    Args:
        parameters: `format`, `namespace`, `spreadsheetSafe`, and filters, see `read_filters`.
        suggestions: whether error messages may suggest names of the schema.

    Raises:
        RequestError: a parameter is invalid, there is no such namespace to be read, or the events are too many.
        QueryTooSlow, StoreUnavailable, TooManyQueries: the store can't answer.
    """
    given = dict(parameters)
    kind = _choice(given, "format", tuple(_FORMATS))
    spreadsheet = _choice(given, "spreadsheetSafe", ("false", "true")) == "true"
    coverage = _coverage(given, context)
    try:
        filters = read_filters(schema, given, suggestions=suggestions)
        selection = select(coverage, context.registry, context.today, filters)
    except InvalidArgument as error:
        raise RequestError(400, str(error)) from error
    made = _FORMATS[kind]
    if kind == "csv":
        made = made._replace(lines=partial(csv_lines, spreadsheet=spreadsheet))
    headers = {
        "Content-Type": made.content_type,
        "Content-Disposition": f'attachment; filename="events.{kind}"',
        "Cache-Control": "no-store",
    }
    return ExportedFile(_body(selection, context, made), headers)


def _choice(given: dict[str, Sequence[str]], name: str, choices: tuple[str, ...]) -> str:
    """Takes a parameter out; the first choice where it is not given."""
    texts = given.pop(name, choices[:1])
    if len(texts) != 1 or texts[0] not in choices:
        raise RequestError(400, f"{name} must be {' or '.join(choices)}.")
    return texts[0]


def _coverage(given: dict[str, Sequence[str]], context: RequestContext) -> Coverage:
    texts = given.pop("namespace", None)
    if texts is None:
        return context.readable
    if len(texts) != 1:
        raise RequestError(400, "namespace takes one path.")
    found = find_namespace(context.grant, context.directory, texts[0])
    if found is None:
        raise RequestError(404, "There is no such namespace or project, or the token does not cover it.")
    return found.coverage


def _body(selection: Selection, context: RequestContext, made: _Format) -> str:
    """The text of the file. Pages are read one by one, so that events beyond the limit take no memory."""
    parts, size, count = [made.header.decode()], 0, 0
    beyond: EventPosition | None = None
    full_paths: dict[str, str] = {}
    while True:
        context.deadline.remaining()
        rows = context.events.events(selection, PageWindow(MAX_PAGE_SIZE, beyond), _WHOLE)
        count += len(rows)
        if count > MAX_EVENTS:
            raise RequestError(413, f"The export has more than {MAX_EVENTS:,} events: {_LESS}.")
        full_paths |= _full_paths(rows, context)
        events = exported_events(rows, context.registry, _usernames(rows, context), full_paths)
        parts.append(made.lines(events).decode())
        size += len(msgspec.json.encode(parts[-1]))
        if size > MAX_ANSWER_BYTES:
            raise RequestError(413, f"The export has more than {MAX_ANSWER_BYTES:,} bytes: {_LESS}.")
        if len(rows) < MAX_PAGE_SIZE:
            return "".join(parts)
        beyond = EventPosition(rows[-1][TIMESTAMP], rows[-1][ID])


def _usernames(rows: Sequence[EventRow], context: RequestContext) -> Mapping[int, str]:
    """The usernames that the reader may see. PostgreSQL's rows have them, ClickHouse's don't."""
    if context.events.knows_usernames:
        return {row[USER_ID]: row[USERNAME] for row in rows if row[USERNAME] is not None}
    return context.directory.usernames({row[USER_ID] for row in rows}) if rows else {}


def _full_paths(rows: Sequence[EventRow], context: RequestContext) -> Mapping[str, str]:
    """The full paths of the rows' namespaces, as far as the grant covers them."""
    paths = {row[NAMESPACE_PATH] for row in rows if row[NAMESPACE_PATH] is not None}
    covered = {path for path in paths if context.grant.covers(path)}
    return context.directory.full_paths_of(covered) if covered else {}
