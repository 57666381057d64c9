"""Executes a query, and stops at the query's deadline."""

from typing import Any

from graphql import DocumentNode, ExecutionResult, GraphQLSchema, execute_sync

from functions.graphql.context import RequestContext
from functions.graphql.planned_executor import PlannedExecutor
from functions.graphql.request import Query


class _TimedExecutor(PlannedExecutor):
    """Checks the deadline before resolving the fields of each object."""

    def execute_fields(self, *arguments: Any) -> Any:
        self.context_value.deadline.remaining()
        return super().execute_fields(*arguments)


def execute(
    schema: GraphQLSchema, document: DocumentNode, query: Query, context: RequestContext, *, suggestions: bool
) -> ExecutionResult:
    """Executes the query's operation. The result contains the errors of resolvers.

    Args:
        suggestions: whether error messages may suggest names of the schema.
    """
    return execute_sync(
        schema,
        document,
        context_value=context,
        variable_values=query.variables,
        operation_name=query.operation_name,
        executor_class=_TimedExecutor,
        hide_suggestions=not suggestions,
    )
