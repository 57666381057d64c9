"""Web pages of the origins that `CORS_ORIGINS` names may query and send."""

import json
import time
from typing import Any

import jwt
import pytest

from functions.graphql.handler import GraphqlHandler
from functions.shared import settings
from functions.shared.cors import Cors
from tests.support.graphql import SECRET as GRAPHQL_SECRET
from tests.support.ways_in import SECRET, WaysIn

ORIGIN = "https://dashboard.example.com"
SOME = Cors(frozenset({ORIGIN, "http://localhost:3000"}))
EVENT = {"event": "request_duo_chat_response"}


def headers_of(secret: str, scope: str, origin: str | None) -> dict[str, str]:
    claims = {"sub": "1", "scope": scope, "namespaces": ["*"], "exp": time.time() + 60}
    sent = {"Authorization": f"Bearer {jwt.encode(claims, secret)}", "content-type": "application/json"}
    return sent | ({"origin": origin} if origin else {})


def answers(api: GraphqlHandler, ways: WaysIn, origin: str | None) -> list[dict[str, Any]]:
    """The answers to a query, to events, and to one of each that is refused."""
    query = {"httpMethod": "POST", "body": '{"query": "{ __typename }"}', "isBase64Encoded": False}
    send = {"httpMethod": "POST", "resource": "/v1/events", "body": json.dumps(EVENT), "isBase64Encoded": False}
    return [
        api(query | {"headers": headers_of(GRAPHQL_SECRET, "events:read", origin)}, None),
        api(query | {"headers": {"Origin": origin} if origin else {}}, None),
        ways.api(send | {"headers": headers_of(SECRET, "events:write", origin)}, None),
        ways.api(send | {"headers": {"Origin": origin} if origin else {}}, None),
    ]


def asked(origin: str) -> dict[str, Any]:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-apollo-operation-name",
    }
    return {"httpMethod": "OPTIONS", "resource": "/v1/events", "headers": headers, "body": None}


@pytest.mark.parametrize(
    ("cors", "origin", "allowed"),
    [
        (SOME, ORIGIN, True),
        (SOME, "http://localhost:3000", True),
        (SOME, "https://evil.example.com", False),
        (SOME, f"{ORIGIN}.evil.example.com", False),
        (SOME, "null", False),
        (SOME, None, False),
        (Cors(frozenset({"*"})), "https://evil.example.com", True),
        (Cors(), ORIGIN, False),
    ],
)
def test_a_page_of_an_allowed_origin_may_query_and_send(
    cors: Cors, origin: str | None, allowed: bool, api: GraphqlHandler, ways: WaysIn
) -> None:
    api.cors = ways.api.cors = cors
    found = answers(api, ways, origin)
    assert [answer["statusCode"] for answer in found] == [200, 401, 202, 401]
    for answer in found:
        assert answer["headers"].get("Access-Control-Allow-Origin") == (origin if allowed else None)
        assert answer["headers"].get("Vary") == ("Origin" if cors.origins else None)
        assert "Access-Control-Allow-Credentials" not in answer["headers"]
    for handler, methods in ((api, "GET, POST"), (ways.api, "POST")):
        if origin is not None:
            answer = handler(asked(origin), None)
            sent = answer["headers"]
            assert answer["statusCode"] == (204 if allowed else 403)
            assert sent.get("Access-Control-Allow-Origin") == (origin if allowed else None)
            assert sent.get("Access-Control-Allow-Methods") == (methods if allowed else None)
            expected = "authorization,content-type,x-apollo-operation-name" if allowed else None
            assert sent.get("Access-Control-Allow-Headers") == expected


def test_odd_names_of_headers_are_not_repeated() -> None:
    event = asked(ORIGIN)
    event["headers"]["Access-Control-Request-Headers"] = "a\r\nSet-Cookie: b"
    assert "Access-Control-Allow-Headers" not in SOME.preflight(event, "POST")["headers"]


def test_origins_are_read_from_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.cors_origins() == frozenset()
    monkeypatch.setenv("CORS_ORIGINS", f" {ORIGIN} ,http://localhost:3000,")
    assert settings.cors_origins() == SOME.origins
    monkeypatch.setenv("CORS_ORIGINS", "*")
    assert settings.cors_origins() == {"*"}


@pytest.mark.parametrize("origins", [f"{ORIGIN}/", "dashboard.example.com", "https://*.example.com", "ftp://a", "null"])
def test_what_is_no_origin_stops_the_function(origins: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", origins)
    with pytest.raises(settings.SettingError, match="CORS_ORIGINS"):
        settings.cors_origins()
