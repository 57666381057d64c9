"""`Lookahead`: which fields a query selects below a field, so that resolvers read only these."""

from collections.abc import Iterable, Iterator
from typing import Any

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    InlineFragmentNode,
    SelectionSetNode,
)
from graphql.execution.values import get_argument_values


class Lookahead:
    """Fields of a query, and the fields that the query selects below.

    Includes the fields of all fragments, whatever their type, and fields that `@skip` or `@include` leave out.
    """

    def __init__(self, info: GraphQLResolveInfo[Any], nodes: Iterable[FieldNode]) -> None:
        self._info = info
        self._nodes = tuple(nodes)
        self._below: dict[str, list[FieldNode]] | None = None

    @classmethod
    def of(cls, info: GraphQLResolveInfo[Any]) -> "Lookahead":
        """The field being resolved."""
        return cls(info, info.field_nodes)

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def names(self) -> Iterable[str]:
        """The names of the fields one level below."""
        return self._fields().keys()

    def below(self, *names: str) -> "Lookahead":
        """The fields of these names one level below."""
        return Lookahead(self._info, (node for name in names for node in self._fields().get(name, ())))

    def apart(self) -> Iterator["Lookahead"]:
        """The fields that are answered apart, each with all that is selected below it."""
        by_key: dict[str, list[FieldNode]] = {}
        for node in self._nodes:
            by_key.setdefault((node.alias or node.name).value, []).append(node)
        for nodes in by_key.values():
            yield Lookahead(self._info, nodes)

    def without_arguments(self) -> "Lookahead":
        """The field where it is written without arguments."""
        return Lookahead(self._info, (node for node in self._nodes if not node.arguments))

    def arguments(self, parent: GraphQLObjectType | GraphQLInterfaceType) -> Iterator[dict[str, Any]]:
        """The arguments of each field; all fields must belong to the type `parent`.

        Raises:
            GraphQLError: an argument is invalid.
        """
        for node in self._nodes:
            yield get_argument_values(parent.fields[node.name.value], node, self._info.variable_values)

    def _fields(self) -> dict[str, list[FieldNode]]:
        if self._below is None:
            self._below = {}
            spread: set[str] = set()
            for node in self._nodes:
                if node.selection_set is not None:
                    self._gather(node.selection_set, self._below, spread)
        return self._below

    def _gather(self, selections: SelectionSetNode, below: dict[str, list[FieldNode]], spread: set[str]) -> None:
        for selection in selections.selections:
            if isinstance(selection, FieldNode):
                below.setdefault(selection.name.value, []).append(selection)
            elif isinstance(selection, InlineFragmentNode):
                self._gather(selection.selection_set, below, spread)
            elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in spread:
                spread.add(selection.name.value)
                self._gather(self._info.fragments[selection.name.value].selection_set, below, spread)
