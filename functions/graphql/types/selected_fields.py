"""Reads which fields a query selects of the objects of one type, for fields whose answer is made without an executor.

https://spec.graphql.org/October2021/#CollectFields()
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLIncludeDirective,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSkipDirective,
    InlineFragmentNode,
    NamedTypeNode,
    SelectionNode,
    VariableNode,
    Visitor,
    get_argument_values,
    get_directive_values,
    visit,
)

TYPENAME = "__typename"


class SelectedField(NamedTuple):
    """A field that a query selects.

    Attributes:
        key: name in the answer.
        name: name in the schema.
        nodes: all places that select the field under this key; what they select below is merged.
    """

    key: str
    name: str
    arguments: Mapping[str, Any]
    nodes: tuple[FieldNode, ...]


def selected_fields(
    info: GraphQLResolveInfo[Any], parent: GraphQLObjectType, nodes: Iterable[FieldNode]
) -> list[SelectedField]:
    """The fields that these places select of an object of the type `parent`, in the order of the answer.

    Raises:
        GraphQLError: an argument is invalid.
    """
    found: dict[str, list[FieldNode]] = {}
    spread: set[str] = set()
    for node in nodes:
        for field in _fields(info, parent, node.selection_set.selections if node.selection_set else (), spread):
            found.setdefault(field.alias.value if field.alias else field.name.value, []).append(field)
    return [_selected(info, parent, key, tuple(fields)) for key, fields in found.items()]


def variables_below(info: GraphQLResolveInfo[Any], nodes: Iterable[FieldNode]) -> tuple[str, ...]:
    """The names of the variables that these places use, with all that they select below."""
    visitor = _VariableNames(info)
    for node in nodes:
        visit(node, visitor)
    return tuple(visitor.names)


def _selected(
    info: GraphQLResolveInfo[Any], parent: GraphQLObjectType, key: str, nodes: tuple[FieldNode, ...]
) -> SelectedField:
    name = nodes[0].name.value
    arguments = {} if name == TYPENAME else get_argument_values(parent.fields[name], nodes[0], info.variable_values)
    return SelectedField(key, name, arguments, nodes)


def _fields(
    info: GraphQLResolveInfo[Any], parent: GraphQLObjectType, selections: Iterable[SelectionNode], spread: set[str]
) -> Iterator[FieldNode]:
    """The selected fields, with those of fragments that apply to the type `parent`.

    Args:
        spread: names of the fragments that were spread before, to which this adds.
    """
    for selection in selections:
        if not _is_included(info, selection):
            continue
        if isinstance(selection, FieldNode):
            yield selection
        elif isinstance(selection, InlineFragmentNode):
            if _applies(info, selection.type_condition, parent):
                yield from _fields(info, parent, selection.selection_set.selections, spread)
        elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in spread:
            fragment = info.fragments[selection.name.value]
            if _applies(info, fragment.type_condition, parent):
                spread.add(selection.name.value)
                yield from _fields(info, parent, fragment.selection_set.selections, spread)


def _is_included(info: GraphQLResolveInfo[Any], selection: SelectionNode) -> bool:
    skip = get_directive_values(GraphQLSkipDirective, selection, info.variable_values)
    include = get_directive_values(GraphQLIncludeDirective, selection, info.variable_values)
    return not (skip and skip["if"]) and not (include and not include["if"])


def _applies(info: GraphQLResolveInfo[Any], condition: NamedTypeNode | None, parent: GraphQLObjectType) -> bool:
    if condition is None or condition.name.value == parent.name:
        return True
    conditional = info.schema.get_type(condition.name.value)
    return isinstance(conditional, GraphQLInterfaceType) and info.schema.is_sub_type(conditional, parent)


class _VariableNames(Visitor):
    """Collects the names of variables, also within the fragments that are spread."""

    def __init__(self, info: GraphQLResolveInfo[Any]) -> None:
        super().__init__()
        self.names: dict[str, None] = {}
        self._info = info
        self._spread: set[str] = set()

    def enter_variable(self, node: VariableNode, *_: object) -> None:
        self.names[node.name.value] = None

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
        if node.name.value not in self._spread:
            self._spread.add(node.name.value)
            visit(self._info.fragments[node.name.value], self)
