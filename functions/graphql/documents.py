"""`DocumentCache`: parses and validates each query text once while the text is among the last `MAX_DOCUMENTS`."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    parse,
    specified_rules,
    validate,
)

from functions.graphql import limits
from functions.graphql.plan_cache import PlanCache

MAX_DOCUMENTS = 100


class InvalidQuery(Exception):
    """An invalid query; `errors` are for the client."""

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__(*errors)
        self.errors = errors


class Document(NamedTuple):
    """A parsed and validated query text."""

    node: DocumentNode
    plans: PlanCache


class DocumentCache:
    """The parsed and validated documents of the latest query texts."""

    def __init__(self, schema: GraphQLSchema, *, introspection: bool) -> None:
        self._schema = schema
        self._introspection = introspection
        self._rules = specified_rules if introspection else (*specified_rules, NoSchemaIntrospectionCustomRule)
        self._cached = lru_cache(MAX_DOCUMENTS)(self._parse)

    def document(self, text: str) -> Document:
        """Parses a query, or returns its cached document.

        Raises:
            InvalidQuery: the query exceeds a limit, is malformed, or does not match the schema.
        """
        return self._cached(text)

    def _parse(self, text: str) -> Document:
        try:
            limits.check_length(text)
            document = parse(text, max_lexical_tokens=limits.MAX_TOKENS)
            limits.check_numbers(text, document)
            limits.check(document)
        except GraphQLError as error:
            raise InvalidQuery([error]) from error
        errors = validate(self._schema, document, self._rules, hide_suggestions=not self._introspection)
        if errors:
            raise InvalidQuery(errors)
        return Document(document, PlanCache())
