"""Executes a query, stops at the query's deadline, and fills in the lists that plans made."""

from collections.abc import Callable, Sequence
from typing import Any

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
    """
    context.deadline.remaining()
    result = execute_sync(
        schema,
        document.node,
        context_value=context,
        variable_values=query.variables,
        operation_name=query.operation_name,
        middleware=_IN_TIME,
        hide_suggestions=not suggestions,
    )
    for path, made in context.made_lists:
        _fill_in(result.data, path, made)
    if context.errors:
        result.errors = [*(result.errors or ()), *context.errors]
    return result


def _fill_in(data: Any, path: Path, made: Sequence[Any]) -> None:
    """Replaces the empty list at the path, unless an error made an object above the list null."""
    *within, last = path.as_list()
    for key in within:
        data = data and data[key]
    if data and data[last] is not None:
        data[last] = made


def _in_time(resolve: Callable[..., Any], source: Any, info: Info, **arguments: Any) -> Any:
    """Resolves a field, unless the deadline is over."""
    info.context.deadline.remaining()
    return resolve(source, info, **arguments)


_IN_TIME = MiddlewareManager(_in_time)
