"""The execution of a query, within its time."""

from typing import Any

from graphql import DocumentNode, ExecutionResult, GraphQLSchema, execute_sync

from functions.graphql.context import RequestContext
from functions.graphql.planned_executor import PlannedExecutor
from functions.graphql.request import Query


class _TimedExecutor(PlannedExecutor):
    """Looks at the time before the fields of each object are resolved."""

    def execute_fields(self, *arguments: Any) -> Any:
        self.context_value.deadline.remaining()
        return super().execute_fields(*arguments)


def execute(
    schema: GraphQLSchema, document: DocumentNode, query: Query, context: RequestContext, *, suggestions: bool
) -> ExecutionResult:
    """What the query's operation comes to; errors of its resolvers are in the result.

    Args:
        suggestions: whether messages may name what else there is in the schema.
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
