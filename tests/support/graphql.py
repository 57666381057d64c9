"""Sends queries to the GraphQL function in this process."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import jwt
from graphql import GraphQLSchema

import functions.graphql.handler
from functions.graphql.handler import GraphqlHandler, build
from functions.graphql.schema import executable_schema
from functions.shared.catalog.registry import Registry
from functions.shared.settings import AuthSettings
from tests.support import clock

SECRET = "a secret of thirty-two characters, at least"
MAX_SECONDS = 600.0
"""Time limit of a query, unless a test sets one: how long a query takes says more about the machine's other work."""

_schemas: dict[tuple[int, ...], tuple[Registry, GraphQLSchema]] = {}
"""The schemas made so far by the features that they are of, which are kept so that no other gets the id of one."""

type Insert = Callable[..., str]


@contextmanager
def built(database_url: str, **settings: Any) -> Iterator[GraphqlHandler]:
    """Yields the function's handler with these settings, a fixed clock and time for queries on a busy machine."""
    handler = build_with_known_schema(auth=AuthSettings(secret=SECRET), database_url=database_url, **settings)
    handler.now = clock.now
    handler.max_seconds = MAX_SECONDS
    try:
        yield handler
    finally:
        handler.database.close()


def build_with_known_schema(**settings: Any) -> GraphqlHandler:
    """Returns the function's handler with these settings; makes a schema only for definitions that have none yet."""
    with patch.object(functions.graphql.handler, "executable_schema", schema_of):
        return build(**settings)


def schema_of(registry: Registry) -> GraphQLSchema:
    """Returns the schema of these definitions, made once because making it takes longer than most queries."""
    features = tuple(map(id, registry.features.values()))
    if features not in _schemas:
        _schemas[features] = (registry, executable_schema(registry))
    return _schemas[features][1]


def request(handler: GraphqlHandler, query: Any, *namespaces: str, **changes: Any) -> tuple[int, Any]:
    """Returns status and content of the answer to a query or body, with a token for the namespaces (None: all).

    Args:
        changes: replaced keys of API Gateway's event.
    """
    claims = {"sub": "1", "scope": "events:read", "namespaces": namespaces or ["*"], "exp": time.time() + 60}
    body = query if isinstance(query, str) else json.dumps(query)
    event = {
        "httpMethod": "POST",
        "headers": {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}", "Content-Type": "application/json"},
        "body": body,
        "isBase64Encoded": False,
    }
    answer = handler(event | changes, None)
    return answer["statusCode"], json.loads(answer["body"])


def ask(handler: GraphqlHandler, query: str, *namespaces: str, **variables: Any) -> Any:
    """Returns the data of the answer; fails if the answer has errors."""
    status, answer = request(handler, {"query": query, "variables": variables}, *namespaces)
    assert status == 200
    assert "errors" not in answer, answer
    return answer["data"]
