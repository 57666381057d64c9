"""Asking the function behind `/graphql`, as its module `functions.graphql.api` answers in this process."""

import importlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import jwt
import pytest

from tests import clock

SECRET = "a secret of thirty-two characters, at least"

type Insert = Callable[..., str]


@contextmanager
def loaded(database_url: str, monkeypatch: pytest.MonkeyPatch, **settings: str) -> Iterator[ModuleType]:
    """The module, as it is with these settings; for it, it is always the same moment."""
    for name, value in {"DATABASE_URL": database_url, "AUTH_SECRET": SECRET, **settings}.items():
        monkeypatch.setenv(name, value)
    import functions.graphql.api

    module = importlib.reload(functions.graphql.api)
    clock.stop(module, monkeypatch)
    try:
        yield module
    finally:
        module.database.close()


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
