"""Limits of a query's text, variables and answer."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    TokenKind,
)

from functions.graphql.query.budget import MAX_ANSWER_BYTES
from functions.graphql.query.errors import AnswerTooLarge

MAX_BODY_BYTES = 256 * 1024
MAX_LENGTH = 10_000  # characters
MAX_TOKENS = 4000
MAX_DEPTH = 20  # levels of fields
MAX_NESTING = 50  # levels of fields and fragments
MAX_FIELDS = 500  # fields as written
MAX_EXPANDED_FIELDS = 1000  # fields once fragments are expanded
MAX_ALIASES = 50  # aliases once fragments are expanded
MAX_DIRECTIVES = 50
MAX_DIGITS = 1000  # digits of one whole number, as written
MAX_INTROSPECTIONS = 5
MAX_LIST = 1000  # values of one list in the variables
MAX_TEXT = 16 * 1024  # characters of one text in the variables; no payload holds a longer text

_MAX_ESCAPED_BYTES = 6  # of one character of a text inside JSON

_MANY_DIGITS = re.compile(rf"[0-9]{{{MAX_DIGITS + 1}}}")
_INTROSPECTION = ("__schema", "__type")


class Extent(NamedTuple):
    """Size of a selection once its fragments are expanded."""

    depth: int = 0
    nesting: int = 0
    fields: int = 0
    aliases: int = 0


def check_length(text: str) -> None:
    """Checks the length of a query before parsing.

    Raises:
        GraphQLError: the text is longer than `MAX_LENGTH`.
    """
    _at_most(MAX_LENGTH, len(text), "characters")


def check_numbers(text: str, document: DocumentNode) -> None:
    """Checks the length of the numbers in a query. Python reads no number of thousands of digits.

    Raises:
        GraphQLError: a number has more than `MAX_DIGITS` digits.
    """
    if not _MANY_DIGITS.search(text):
        return
    token = document.loc.start_token if document.loc else None
    while token is not None:
        if token.kind is TokenKind.INT:
            _at_most(MAX_DIGITS, len(token.value or ""), "digits in one number")
        token = token.next


def check(document: DocumentNode) -> None:
    """Checks that a document can be validated and answered in time. The document may still be invalid.

    Raises:
        GraphQLError: the document exceeds a limit; the message names the limit.
    """
    definitions = [
        definition
        for definition in document.definitions
        if isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode)
    ]
    selections = [selection for definition in definitions for selection in _selections(definition.selection_set)]
    fields = [selection for selection in selections if isinstance(selection, FieldNode)]
    _at_most(MAX_FIELDS, len(fields), "fields")
    _at_most(MAX_DIRECTIVES, sum(len(node.directives or ()) for node in (*definitions, *selections)), "directives")
    introspections = sum(field.name.value in _INTROSPECTION for field in fields)
    _at_most(MAX_INTROSPECTIONS, introspections, f"fields {' and '.join(_INTROSPECTION)}")
    fragments = {node.name.value: node for node in definitions if isinstance(node, FragmentDefinitionNode)}
    extents = _Extents(fragments)
    for definition in definitions:
        if isinstance(definition, OperationDefinitionNode):
            extent = extents.of(definition.selection_set)
            _at_most(MAX_DEPTH, extent.depth, "levels of fields")
            _at_most(MAX_ALIASES, extent.aliases, "aliases")


def check_variables(variables: Mapping[str, Any]) -> None:
    """Checks the length of lists and texts in the variables, which a store would have to compare with.

    Raises:
        GraphQLError: a list or text is too long.
    """
    pending: list[Any] = [variables]
    while pending:
        match pending.pop():
            case str() as text:
                _at_most(MAX_TEXT, len(text), "characters in one text of its variables")
            case list() as values:
                _at_most(MAX_LIST, len(values), "values in one list of its variables")
                pending += values
            case dict() as values:
                pending += [*values, *values.values()]


def sendable(answer: bytes) -> str:
    """Returns the answer as the text that Lambda sends inside JSON, with its quotes escaped.

    Raises:
        AnswerTooLarge: the text is larger than `MAX_ANSWER_BYTES`.
    """
    if len(answer) > MAX_ANSWER_BYTES:
        raise AnswerTooLarge(MAX_ANSWER_BYTES)
    text = answer.decode()
    if len(answer) > MAX_ANSWER_BYTES // _MAX_ESCAPED_BYTES and len(msgspec.json.encode(text)) > MAX_ANSWER_BYTES:
        raise AnswerTooLarge(MAX_ANSWER_BYTES)
    return text


def _selections(selection_set: SelectionSetNode) -> Iterator[SelectionNode]:
    """All selections at any depth, without following fragment spreads."""
    pending = [selection_set]
    while pending:
        for selection in pending.pop().selections:
            yield selection
            within = getattr(selection, "selection_set", None)
            if within is not None:
                pending.append(within)


class _Extents:
    """Computes the extents of selections; visits each fragment once, however often a query spreads the fragment."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._known: dict[str, Extent] = {}

    def of(self, selection_set: SelectionSetNode, nesting: int = 1) -> Extent:
        """The extent of a selection set at level `nesting` of its operation."""
        _check_nesting(nesting)
        extents = [self._of_selection(selection, nesting) for selection in selection_set.selections]
        fields = sum(extent.fields for extent in extents)
        _at_most(MAX_EXPANDED_FIELDS, fields, "fields or more once its fragments are expanded")
        return Extent(
            depth=max((extent.depth for extent in extents), default=0),
            nesting=1 + max((extent.nesting for extent in extents), default=0),
            fields=fields,
            aliases=sum(extent.aliases for extent in extents),
        )

    def _of_selection(self, selection: SelectionNode, nesting: int) -> Extent:
        if isinstance(selection, FragmentSpreadNode):
            extent = self._of_fragment(selection.name.value, nesting + 1)
            _check_nesting(nesting + extent.nesting)
            return extent
        within = getattr(selection, "selection_set", None)
        extent = Extent() if within is None else self.of(within, nesting + 1)
        if isinstance(selection, FieldNode):
            aliases = extent.aliases + (selection.alias is not None)
            return extent._replace(depth=extent.depth + 1, fields=extent.fields + 1, aliases=aliases)
        return extent

    def _of_fragment(self, name: str, nesting: int) -> Extent:
        """The extent of a fragment; empty if unknown or inside itself, which validation reports later."""
        if name not in self._known and name in self._fragments:
            self._known[name] = Extent()
            self._known[name] = self.of(self._fragments[name].selection_set, nesting)
        return self._known.get(name, Extent())


def _check_nesting(nesting: int) -> None:
    if nesting > MAX_NESTING:
        raise GraphQLError(f"The query has more than {MAX_NESTING} levels of fields and fragments.")


def _at_most(limit: int, found: int, what: str) -> None:
    if found > limit:
        raise GraphQLError(f"The query has {found:,} {what}; at most {limit:,} are allowed.")
