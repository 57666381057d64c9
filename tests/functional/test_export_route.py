"""`GET /v1/export` answers with what the token may read, as GraphQL does, or says why not."""

import csv
import io
import json
import time
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any
from unittest.mock import patch

import jwt
import psycopg
import pytest

from functions.graphql.export import answer
from functions.graphql.handler import GraphqlHandler
from tests.support.clock import NOW
from tests.support.graphql import SECRET, Insert, ask
from tests.support.metrics_model import Event
from tests.support.random_events import FILTERS, GIVEN, random_filters

QUERY = f"""
    query ($after: String, {FILTERS}) {{
        aiInstanceUsageData {{
            all(first: 1000, after: $after, {GIVEN}) {{
                nodes {{
                    id timestamp event user {{ id username }} namespacePath projectId payload
                }}
            }}
        }}
    }}
"""


def export(handler: GraphqlHandler, *namespaces: str, scope: str = "events:read", **parameters: Any) -> dict[str, Any]:
    """Returns the answer to the parameters, each a text or a list of texts, with a token for the namespaces."""
    claims = {"sub": "1", "scope": scope, "namespaces": namespaces or ["*"], "exp": time.time() + 60}
    event = {
        "resource": "/v1/export",
        "httpMethod": "GET",
        "headers": {"Authorization": f"Bearer {jwt.encode(claims, SECRET)}"},
        "multiValueQueryStringParameters": {
            name: value if isinstance(value, list) else [value] for name, value in parameters.items()
        },
        "body": None,
    }
    return handler(event, None)


def lines(answered: dict[str, Any]) -> list[dict[str, Any]]:
    assert answered["statusCode"] == 200, answered["body"]
    return [json.loads(line) for line in answered["body"].splitlines()]


def as_text(filters: dict[str, Any]) -> dict[str, Any]:
    return filters | {name: json.dumps(filters[name]) for name in ("payload", "not") if name in filters}


def test_an_export_has_the_events_that_graphql_answers_with(
    events: list[Event], connection: psycopg.Connection, either: GraphqlHandler
) -> None:
    connection.execute("INSERT INTO users (id, username) VALUES (1, 'root')")
    chance = Random(3)
    for namespaces in (["*"], ["27/"], ["27/28/", "3/"]) * 2:
        filters = random_filters(chance)
        nodes = ask(either, QUERY, *namespaces, **filters)["aiInstanceUsageData"]["all"]["nodes"]
        found = lines(export(either, *namespaces, format="ndjson", **as_text(filters)))
        assert [
            {
                "id": line["id"],
                "timestamp": line["timestamp"],
                "event": line["event"].upper(),
                "user": {"id": str(line["user_id"]), "username": line["username"]},
                "namespacePath": line["namespace_path"],
                "projectId": line["project_id"],
                "payload": line["payload"],
            }
            for line in found
        ] == nodes
        rows = list(csv.DictReader(io.StringIO(export(either, *namespaces, **as_text(filters))["body"], newline="")))
        assert [row["id"] for row in rows] == [line["id"] for line in found]


def test_a_namespace_is_found_within_the_grant_alone(
    connection: psycopg.Connection, insert: Insert, api: GraphqlHandler
) -> None:
    connection.execute("INSERT INTO namespaces VALUES (28, '27/28/', 'acme/team'), (29, '29/', 'other')")
    within, _ = insert(NOW, 6, 1, "27/28/"), insert(NOW, 6, 1, "29/")
    for namespace in ("acme/team", "27/"):
        (line,) = lines(export(api, "27/", namespace=namespace, format="ndjson"))
        assert (line["id"], line["namespace_full_path"]) == (within, "acme/team")
    for namespace in ("other", "29/", "nowhere", "\0"):
        assert export(api, "27/", namespace=namespace)["statusCode"] == 404
    assert lines(export(api, format="ndjson", namespace="other"))[0]["namespace_full_path"] == "other"


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"format": "parquet"}, "format must be csv or ndjson."),
        ({"spreadsheetSafe": "perhaps"}, "spreadsheetSafe must be false or true."),
        ({"namespace": ["27/", "28/"]}, "namespace takes one path."),
        ({"startDate": "soon"}, "'soon' is not a day like 2026-11-20."),
        ({"startDate": "2026-11-20", "endDate": "2026-11-19"}, "endDate 2026-11-19 is before"),
        ({"userIds": "x,1"}, "userIds: 'x' is not a user's id."),
        ({"events": "NOTHING"}, "NOTHING"),
        ({"payload": "{"}, "payload must be JSON like"),
        ({"payload": '{"path": "a"}'}, "a filter needs at least one of"),
        ({"token": "secret"}, "There is no filter 'token': use startDate"),
    ],
    ids=lambda value: "" if isinstance(value, str) else json.dumps(value),
)
def test_an_invalid_parameter_is_explained(api: GraphqlHandler, parameters: dict[str, Any], said: str) -> None:
    answered = export(api, **parameters)
    assert answered["statusCode"] == 400
    assert said in json.loads(answered["body"])["message"]


def test_a_token_without_the_scope_exports_nothing(api: GraphqlHandler) -> None:
    assert export(api, scope="events:write")["statusCode"] == 403
    assert api({"resource": "/v1/export", "httpMethod": "GET", "headers": {}}, None)["statusCode"] == 401


def test_the_file_is_named_and_not_kept_by_caches(api: GraphqlHandler) -> None:
    headers = export(api)["headers"]
    assert headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert headers["Content-Disposition"] == 'attachment; filename="events.csv"'
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("limit", "said"), [("MAX_EVENTS", "more than 4 events"), ("MAX_ANSWER_BYTES", "more than 4 bytes")]
)
def test_what_does_not_fit_into_an_answer_is_refused(
    limit: str, said: str, api: GraphqlHandler, insert: Insert
) -> None:
    for seconds in range(5):
        insert(NOW - timedelta(seconds=seconds), 6, 1)
    with patch.object(answer, limit, 4):
        answered = export(api)
    assert answered["statusCode"] == 413
    assert said in json.loads(answered["body"])["message"]
    assert len(lines(export(api, format="ndjson"))) == 5


def test_an_export_continues_from_page_to_page(api: GraphqlHandler, insert: Insert) -> None:
    ids = [insert(NOW - timedelta(seconds=seconds // 2), 6, 1) for seconds in range(7)]
    with patch.object(answer, "MAX_PAGE_SIZE", 2):
        found = [line["id"] for line in lines(export(api, format="ndjson"))]
    assert sorted(found) == sorted(ids)
    assert len(found) == len(ids)


def test_a_store_that_is_gone_is_explained(api: GraphqlHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> Callable[..., None]:
        raise psycopg.OperationalError("gone")

    monkeypatch.setattr(api.stores, "current", gone)
    answered = export(api)
    assert answered["statusCode"] == 503
    assert "can't be reached" in json.loads(answered["body"])["message"]
