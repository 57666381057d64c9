"""Hostile queries: none stops the function, takes long or shows internals."""

import base64
import json
import os
import time
from collections.abc import Callable
from random import Random
from typing import Any

import jwt
import psycopg
import pytest
from graphql import GraphQLSchema

from functions.graphql.handler import GraphqlHandler
from tests.support.clock import NOW
from tests.support.graphql import SECRET
from tests.support.graphql_queries import ODD_NUMBERS, ODD_TEXTS, QueryMaker, tokens, ways

COUNT = 10_000 if os.environ.get("SOAK") else 150
STATUSES = {200, 400, 401, 403, 405, 413}
JSON = "application/json"
LEAKS = (
    "Traceback",
    "psycopg",
    "SELECT ",
    "ai_usage_events",
    SECRET,
    "/functions/",
    "postgresql://",
    "clickhouse://",
    "syntax error at or near",
    "DB::Exception",
    "Something went wrong",
    "can't be reached",
)
PAYLOADS: tuple[dict[str, Any], ...] = (
    {},
    {"project_id": 1, "job": {"id": 1}, "tags": ["a", "b"]},
    {"project_id": "1", "a.b": {'"': None}, "ratio": 1.5, "big": 2**64 - 1, "yes": True},
)

type Attack = Callable[[GraphQLSchema, Random], dict[str, Any]]


def post(body: Any) -> dict[str, Any]:
    return {"httpMethod": "POST", "body": body if isinstance(body, str) else json.dumps(body)}


def post_bytes(body: bytes) -> dict[str, Any]:
    return {"httpMethod": "POST", "body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def odd_arguments(schema: GraphQLSchema, chance: Random) -> dict[str, Any]:
    return post(QueryMaker(schema, chance, odd=True).along(chance.choice(ways(schema))))


def plain_queries(schema: GraphQLSchema, chance: Random) -> dict[str, Any]:
    maker = QueryMaker(schema, chance, odd=chance.random() < 0.3)
    return post(maker.any() if chance.random() < 0.5 else maker.along(chance.choice(ways(schema))))


def changed_words(schema: GraphQLSchema, chance: Random) -> dict[str, Any]:
    query = QueryMaker(schema, chance).any()
    words = list(tokens(query["query"]))
    for _ in range(chance.randint(1, 4)):
        place, other = chance.randrange(len(words)), chance.randrange(len(words))
        words[place : place + 1] = chance.choice(
            [
                [],
                [words[place]] * chance.choice((2, 50)),
                [words[other]],
                [words[place], chance.choice(("{", "...", "!", "@a", "\0"))],
            ]
        ) or [""]
    return post(query | {"query": " ".join(words)})


def changed_bytes(schema: GraphQLSchema, chance: Random) -> dict[str, Any]:
    body = bytearray(json.dumps(QueryMaker(schema, chance).any()).encode())
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(body))
        body[place : place + chance.randint(0, 2)] = chance.randbytes(chance.randint(0, 2))
    return post_bytes(bytes(body)) if chance.random() < 0.7 else post(body.decode("utf-8", "surrogateescape"))


def random_bodies(_: GraphQLSchema, chance: Random) -> dict[str, Any]:
    body = chance.choice(
        [
            chance.randbytes(chance.randint(0, 300)),
            b"[" * chance.choice((100, 5_000, 100_000)),
            b'{"query":' * chance.choice((100, 5_000)),
            b'{"query": "{ __typename }", "variables": ' + b"9" * chance.choice((400, 5_000)) + b"}",
            b'"' + b"\\ud800" * 10 + b'"',
            b'{"query": "\\ud800 \\u0000"}',
            b'{"query": "' + b"x" * 300_000 + b'"}',
        ]
    )
    return chance.choice(
        [post_bytes(body), post(body.decode("latin-1")), post_bytes(body) | {"isBase64Encoded": False}]
    )


def deep_nesting(_: GraphQLSchema, chance: Random) -> dict[str, Any]:
    depth = chance.choice((10, 25, 60, 150, 250, 1000, 3000))
    start, end = chance.choice(
        [
            ("{ a ", "}"),
            ("{ ... ", "}"),
            ("{ __schema { types { fields { type ", "}}}}"),
            ("{ namespace(fullPath: [", "])}"),
            ("{ namespace(fullPath: {a: ", "})}"),
        ]
    )
    nested: Any = json.loads("[" * depth + "]" * depth) if depth < 900 else []
    by_variable = "query ($v: ID!) { namespace(fullPath: $v) { path } }"
    return post(
        {"query": chance.choice([start * depth + end * depth, start * depth, by_variable]), "variables": {"v": nested}}
    )


def floods(schema: GraphQLSchema, chance: Random) -> dict[str, Any]:
    count = chance.choice((5, 40, 51, 400))
    field = chance.choice(
        [
            "__typename",
            "aiInstanceUsageData { all(first: 1000) { nodes { id user { username } payload } } }",
            "__schema { types { name fields { name args { name type { name } } type { name fields { name } } } } }",
        ]
    )
    aliased = " ".join(f"a{number}: {field}" for number in range(count))
    return post(
        {
            "query": chance.choice(
                [f"{{ {aliased} }}", f"{{ {field * count} }}", f"{{ __typename {'@include(if: true) ' * count} }}"]
            )
        }
    )


def fragments(_: GraphQLSchema, chance: Random) -> dict[str, Any]:
    count = chance.choice((2, 10, 30, 120))
    spreads = chance.choice(
        ("...f{0} ", "...f{0} ...f{0} ", "a: __typename ...f{0} b: __typename ...f{0} ", "... {{ ...f{0} }} ")
    )
    last = chance.choice(("__typename", "...f0", "...f1 ...f2", "...missing"))
    links = [f"fragment f{number} on Query {{ {spreads.format(number + 1)} }}" for number in range(count)]
    return post({"query": f"{{ ...f0 }} {' '.join(links)} fragment f{count} on Query {{ {last} }}"})


def huge_values(schema: GraphQLSchema, chance: Random) -> dict[str, Any]:
    """Returns a random query whose lists and texts are made very long."""
    maker = QueryMaker(schema, chance)
    query = maker.along(chance.choice(ways(schema)))
    for name, value in maker.variables.items():
        if isinstance(value, list | str):
            maker.variables[name] = value * chance.choice((100, 10_000))
    return post(query)


def wrong_types(schema: GraphQLSchema, chance: Random) -> dict[str, Any]:
    maker = QueryMaker(schema, chance)
    query = maker.along(chance.choice(ways(schema)))
    odd = QueryMaker(schema, chance, odd=True)
    for name in maker.variables:
        maker.variables[name] = odd.json()
    return post(query)


def odd_requests(schema: GraphQLSchema, chance: Random) -> dict[str, Any]:
    query = QueryMaker(schema, chance).any()
    odd = chance.choice((*ODD_TEXTS, *ODD_NUMBERS))
    part = chance.choice(["query", "variables", "operationName", "extensions", "documentId", "other"])
    return chance.choice(
        [
            post(query | {part: odd}),
            post(query | {part: [odd]}),
            post([query]),
            post({"extensions": {"persistedQuery": odd}}),
            {"httpMethod": "GET", "queryStringParameters": {part: str(odd)}},
            post(query) | {"headers": {"Authorization": f"Bearer {odd}"}},
            post(query) | {"headers": {"Authorization": token("events:write")}},
        ]
    )


ATTACKS: tuple[Attack, ...] = (
    odd_arguments,
    plain_queries,
    wrong_types,
    huge_values,
    changed_words,
    changed_bytes,
    random_bodies,
    deep_nesting,
    floods,
    fragments,
    odd_requests,
)


def token(scope: str = "events:read", namespace: str = "*") -> str:
    claims = {"sub": "1", "scope": scope, "namespaces": [namespace], "exp": time.time() + 3600}
    return f"Bearer {jwt.encode(claims, SECRET)}"


@pytest.fixture
def attacked(api: GraphqlHandler, connection: psycopg.Connection, bring: Callable[[], Any]) -> GraphqlHandler:
    """The API with a few events, once on each store."""
    for payload in PAYLOADS:
        connection.execute(
            "INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)"
            " SELECT gen_random_uuid(), %s, event, event, '27/28/', %s"
            " FROM generate_series(1, 22) AS events (event)",
            [NOW, json.dumps(payload)],
        )
    connection.execute("INSERT INTO namespaces VALUES (27, '27/', 'gitlab-org')")
    bring()
    return api


def test_no_hostile_query_brings_the_function_down_takes_long_or_shows_an_inside(
    attacked: GraphqlHandler, database_url: str
) -> None:
    tokens = [token(), token(namespace="27/28/")]
    answered = 0
    for number in range(COUNT):
        chance = Random(number)
        attack = ATTACKS[number % len(ATTACKS)]
        event = {"headers": {"Authorization": chance.choice(tokens), "Content-Type": JSON}} | attack(
            attacked.schema, chance
        )
        answer = attacked(event, None)
        said = f"{attack.__name__} {number}: {str(event)[:2000]} -> {answer['statusCode']} {answer['body'][:2000]}"
        assert answer["statusCode"] in STATUSES, said
        assert "took too long" not in answer["body"], said
        if answer["headers"]["Content-Type"] == JSON:
            content = json.loads(answer["body"])
            assert content.keys() & {"data", "errors", "message"}, said
            assert not [leak for leak in (*LEAKS, database_url) if leak in answer["body"]], said
            answered += bool(content.get("data"))
    assert answered > COUNT // 20  # so that the stores were asked as well
