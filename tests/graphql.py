"""Asking the function behind `/graphql`, as its module `functions.graphql.api` answers in this process."""

import importlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

import jwt
import pytest
from graphql import GraphQLSchema

from functions.graphql.schema import executable_schema
from functions.shared.catalog.registry import Registry
from tests import clock

SECRET = "a secret of thirty-two characters, at least"

_schemas: dict[tuple[int, ...], tuple[Registry, GraphQLSchema]] = {}
"""The schemas made so far by the features that they are of, which are kept so that no other gets the id of one."""

type Insert = Callable[..., str]


@contextmanager
def loaded(database_url: str, monkeypatch: pytest.MonkeyPatch, **settings: str) -> Iterator[ModuleType]:
    """The module, as it is with these settings; for it, it is always the same moment."""
    for name, value in {"DATABASE_URL": database_url, "AUTH_SECRET": SECRET, **settings}.items():
        monkeypatch.setenv(name, value)
    import functions.graphql.api

    with patch.object(functions.graphql.schema, "executable_schema", _schema_made_once):
        module = importlib.reload(functions.graphql.api)
    clock.stop(module, monkeypatch)
    try:
        yield module
    finally:
        module.database.close()


def _schema_made_once(registry: Registry) -> GraphQLSchema:
    """The schema of these definitions: to make it takes longer than most queries."""
    features = tuple(map(id, registry.features.values()))
    if features not in _schemas:
        _schemas[features] = (registry, executable_schema(registry))
    return _schemas[features][1]


def request(module: ModuleType, query: Any, *namespaces: str, **changes: Any) -> tuple[int, Any]:
    """Status and content of the answer to a query, or to a body, with a token for the namespaces, or for all.

    Args:
        changes: of what API Gateway sends.
    """
    claims = {"sub": "1", "scope": "events:read", "namespaces": namespaces or ["*"], "exp": time.time() + 60}
    body = query if isinstance(query, str) else json.dumps(query)
    event = {
        "httpMethod": "POST",
        "headers": {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}"},
        "body": body,
        "isBase64Encoded": False,
    }
    answer = module.handler(event | changes, None)
    return answer["statusCode"], json.loads(answer["body"])


def ask(module: ModuleType, query: str, *namespaces: str, **variables: Any) -> Any:
    """The data of the answer, which has no errors."""
    status, answer = request(module, {"query": query, "variables": variables}, *namespaces)
    assert status == 200
    assert "errors" not in answer, answer
    return answer["data"]
