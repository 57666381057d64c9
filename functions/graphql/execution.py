"""Executes a query, stops at the query's limits of time and size, and fills in the lists that plans made."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from graphql import ExecutionResult, GraphQLSchema, MiddlewareManager, execute_sync
from graphql.pyutils import Path

from functions.graphql.context import Info, RequestContext
from functions.graphql.documents import Document
from functions.graphql.request import Query


def execute(
    schema: GraphQLSchema, document: Document, query: Query, context: RequestContext, *, suggestions: bool
) -> ExecutionResult:
    """Executes the query's operation. The result contains the errors of resolvers.

    Args:
        suggestions: whether error messages may suggest names of the schema.

    Raises:
        QueryTooSlow: the deadline is over before the first field.
        AnswerTooLarge: the answer has more bytes than can be sent.
    """
    context.deadline.remaining()
    result = execute_sync(
        schema,
        document.node,
        context_value=context,
        variable_values=query.variables,
        operation_name=query.operation_name,
        middleware=_WITHIN_LIMITS,
        hide_suggestions=not suggestions,
    )
    context.answer_bytes.check()
    for path, made in context.made_lists:
        _fill_in(result.data, path, made)
    if context.errors:
        result.errors = [*(result.errors or ()), *context.errors]
    return result


def _fill_in(data: Any, path: Path, made: msgspec.Raw) -> None:
    """Replaces the empty list at the path, unless an error made an object above the list null."""
    *within, last = path.as_list()
    for key in within:
        data = data and data[key]
    if data and data[last] is not None:
        data[last] = made


def _within_limits(resolve: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
    """Resolves a field, unless the deadline is over or the answer is too large."""
    info.context.deadline.remaining()
    info.context.reads.resolving = info.parent_type, info.field_name
    value = resolve(source, info, **arguments)
    if isinstance(value, str):
        info.context.answer_bytes.take(len(value))
    elif isinstance(value, Mapping):  # a group's values
        info.context.answer_bytes.take(sum(len(text) for text in value.values() if isinstance(text, str)))
    return value


_WITHIN_LIMITS = MiddlewareManager(_within_limits)
