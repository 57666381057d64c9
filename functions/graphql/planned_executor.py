"""`PlannedExecutor`: executes queries faster that return many objects of one type, like the events of a page.

For every field of every object, graphql-core looks up the definition, the arguments, the resolver and the type.
`PlannedExecutor` looks them up once for all objects of a type, and leaves all special cases to graphql-core. The
answer, errors included, is the same.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from graphql import GraphQLField, GraphQLObjectType, default_field_resolver, is_leaf_type, is_object_type
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet
from graphql.execution.execute import assume_not_awaitable
from graphql.execution.executor_throwing_on_incremental import ExecutorThrowingOnIncremental
from graphql.execution.values import get_argument_values
from graphql.pyutils import Path, Undefined
from graphql.type import GraphQLNonNull, GraphQLOutputType, GraphQLResolveInfo

type Resolver = Callable[..., Any]


class _PlannedField(NamedTuple):
    """A field of a selection, looked up once.

    Attributes:
        attribute: attribute of the object that holds the value; None to call `resolve`.
        arguments: arguments of `resolve`.
        coerce: converts a scalar or enum value for the answer; None for other types, which graphql-core completes.
        object_type: type of the value, if an object type.
    """

    name: str
    details: FieldDetailsList
    definition: GraphQLField
    attribute: str | None
    resolve: Resolver
    arguments: dict[str, Any]
    coerce: Callable[[Any], Any] | None
    object_type: GraphQLObjectType | None


type _Plan = tuple[_PlannedField, ...]


class PlannedExecutor(ExecutorThrowingOnIncremental):
    """Plans the fields of a selection once for all objects; otherwise executes as graphql-core does.

    Resolvers must be synchronous, and must not change their arguments, which all objects share.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._is_plannable = self.is_awaitable is assume_not_awaitable and self.middleware_manager is None
        # Keyed by the selection's id; the value holds the selection, so that no other object takes the id.
        self._plans: dict[tuple[int, str], tuple[GroupedFieldSet, _Plan | None]] = {}

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: GroupedFieldSet,
        position_context: None,
    ) -> Any:
        """The values of one object's fields, by name in the answer."""
        plan = self._plan(parent_type, grouped_field_set)
        if plan is None or isinstance(source_value, Mapping):
            return super().execute_fields(parent_type, source_value, path, grouped_field_set, position_context)
        values = {}
        for field in plan:
            name, attribute, coerce = field.name, field.attribute, field.coerce
            try:
                if attribute is None:
                    value = field.resolve(source_value, self._info(field, parent_type, path), **field.arguments)
                else:
                    value = getattr(source_value, attribute, None)
                    if callable(value):
                        value = value(self._info(field, parent_type, path))
                coerced = None if coerce is None or _is_missing_or_error(value) else coerce(value)
                if coerced is None or coerced is Undefined:
                    coerced = self._complete(field, parent_type, path, value)
                values[name] = coerced
            except Exception as error:  # noqa: BLE001 - any error belongs to its field
                self.handle_field_error(error, field.definition.type, field.details, Path(path, name, parent_type.name))
                values[name] = None
        return values

    def _complete(self, field: _PlannedField, parent_type: GraphQLObjectType, path: Path | None, value: Any) -> Any:
        """Completes a value as graphql-core does."""
        field_path = Path(path, field.name, parent_type.name)
        if field.object_type is not None and not _is_missing_or_error(value):
            return self.collect_and_execute_subfields(field.object_type, field.details, field_path, value, None)
        info = self._info(field, parent_type, path)
        return self.complete_value(field.definition.type, field.details, info, field_path, value, None)

    def _info(self, field: _PlannedField, parent_type: GraphQLObjectType, path: Path | None) -> GraphQLResolveInfo[Any]:
        nodes = [details.node for details in field.details]
        return self.build_resolve_info(field.definition, nodes, parent_type, Path(path, field.name, parent_type.name))

    def _plan(self, parent_type: GraphQLObjectType, selection: GroupedFieldSet) -> _Plan | None:
        """The plan for a selection of a type's fields; None to leave the selection to graphql-core."""
        key = id(selection), parent_type.name
        if key not in self._plans:
            self._plans[key] = selection, self._new_plan(parent_type, selection) if self._is_plannable else None
        return self._plans[key][1]

    def _new_plan(self, parent_type: GraphQLObjectType, selection: GroupedFieldSet) -> _Plan | None:
        try:
            fields = [self._planned_field(parent_type, name, details) for name, details in selection.items()]
        except Exception:  # noqa: BLE001 - graphql-core reports an invalid argument at its field
            return None
        return tuple(field for field in fields if field is not None)

    def _planned_field(
        self, parent_type: GraphQLObjectType, name: str, details: FieldDetailsList
    ) -> _PlannedField | None:
        """Plans one field; None if the type lacks the field."""
        first = details[0]
        definition = self.schema.get_field(parent_type, first.node.name.value)
        if definition is None:
            return None
        resolve = definition.resolve or self.field_resolver
        arguments = {}
        if definition.args or first.node.arguments:
            arguments = get_argument_values(
                definition, first.node, self.variable_values, first.fragment_variable_values, self.hide_suggestions
            )
        nullable_type = _nullable(definition.type)
        return _PlannedField(
            name,
            details,
            definition,
            None if arguments else _attribute(resolve, first.node.name.value),
            resolve,
            arguments,
            nullable_type.coerce_output_value if is_leaf_type(nullable_type) else None,
            nullable_type if is_object_type(nullable_type) and nullable_type.is_type_of is None else None,
        )


def _is_missing_or_error(value: Any) -> bool:
    """Whether the value is None, undefined, or an error that a resolver returned."""
    return value is None or value is Undefined or isinstance(value, Exception)


def _nullable(output_type: GraphQLOutputType) -> GraphQLOutputType:
    return output_type.of_type if isinstance(output_type, GraphQLNonNull) else output_type


def _attribute(resolve: Resolver, field_name: str) -> str | None:
    """The attribute's name, if the resolver only reads an attribute; else None."""
    if resolve is default_field_resolver:
        return field_name
    if getattr(resolve, "_ariadne_alias_resolver", False):
        name = inspect.getclosurevars(resolve).nonlocals.get("attr_name")
        return name if isinstance(name, str) and "." not in name else None
    return None
