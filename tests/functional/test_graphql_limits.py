import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from graphql import GraphQLError, get_introspection_query, parse

from functions.graphql import limits
from functions.graphql.documents import DocumentCache, InvalidQuery
from functions.graphql.handler import GraphqlHandler
from functions.graphql.pages import Pages
from functions.graphql.query import budget
from functions.graphql.query.budget import MAX_SECONDS
from functions.graphql.query.errors import InvalidArgument, QueryTooSlow
from functions.graphql.store_router import StoreRouter
from functions.sync.sync import Sync
from tests.support.clock import NOW
from tests.support.graphql import ask, built, request

NODES = "{ aiInstanceUsageData { all(first: 1000) { nodes { %s } } } }"


@pytest.fixture
def closed(database_url: str) -> Iterator[GraphqlHandler]:
    """The API with introspection turned off."""
    with built(database_url, introspection=False) as handler:
        yield handler


def errors(handler: GraphqlHandler, query: Any, **changes: Any) -> list[str]:
    status, answer = request(handler, query if isinstance(query, dict) else {"query": query}, **changes)
    assert status in (200, 400)
    return [error["message"] for error in answer["errors"]]


def chain(count: int, spreads: str) -> str:
    """Returns a chain of fragments, each of which spreads the next."""
    links = (f"fragment f{number} on Query {{ {spreads.format(number + 1)} }}" for number in range(count))
    return f"{{ ...f0 }} {' '.join(links)} fragment f{count} on Query {{ __typename }}"


def nested(depth: int, start: str = "{ a ", end: str = "} ") -> str:
    return start * depth + end * depth


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (f"{{ __typename }} #{'x' * 10_000}", "The query has 10,016 characters; at most 10,000 are allowed."),
        (f"{{ a(b: [{'1 ' * 4_000}]) }}", "more than 4000 tokens"),
        (nested(21), "The query has 21 levels of fields; at most 20 are allowed."),
        ("{ a { ...f } } fragment f on A " + nested(20), "The query has 21 levels of fields"),
        ("{ ... " * 60 + "{ a }" + "}" * 60, "more than 50 levels of fields and fragments"),
        (chain(200, "...f{}"), "more than 50 levels of fields and fragments"),
        (chain(40, "...f{0} ...f{0}"), "fields or more once its fragments are expanded; at most 1,000 are allowed."),
        (chain(40, "a ...f{0} b ...f{0}"), "fields or more once its fragments are expanded"),
        (f"{{ {'a ' * 501} }}", "The query has 501 fields; at most 500 are allowed."),
        (f"{{ a }} fragment f on A {{ {'a ' * 500} }}", "The query has 501 fields; at most 500 are allowed."),
        (f"{{ {' '.join(f'a{n}: a' for n in range(51))} }}", "The query has 51 aliases; at most 50 are allowed."),
        (f"{{ a {'@skip(if: true) ' * 51} }}", "The query has 51 directives; at most 50 are allowed."),
        (f"query {'@a ' * 51} {{ a }}", "The query has 51 directives"),
        (f"{{ {'__schema { description } ' * 6} }}", "The query has 6 fields __schema and __type; at most 5"),
        ("{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }", "introspection depth"),
        (nested(1000), "nested too deeply"),
        ("{" * 9_000, "Expected Name"),
        (f"{{ a(b: {'[' * 2000}{']' * 2000}) }}", "nested too deeply"),
        (f"{{ a(b: {'{a:' * 1000}1{'}' * 1000}) }}", "nested too deeply"),
        (f"query ($a: {'[' * 1000}Int{']' * 1000}) {{ a }}", "nested too deeply"),
    ],
)
def test_a_query_over_a_limit_is_refused_with_the_limit_and_what_was_found(
    query: str, said: str, api: GraphqlHandler
) -> None:
    (message,) = errors(api, query)
    assert said in message


def test_a_fragment_within_itself_is_named(api: GraphqlHandler) -> None:
    query = "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a __typename }"
    assert errors(api, query) == ["Cannot spread fragment 'a' within itself via 'b'."]


@pytest.mark.parametrize("depth", [3, 9, 13])
def test_tools_may_ask_for_the_schema(depth: int, api: GraphqlHandler) -> None:
    query = get_introspection_query(specified_by_url=True, directive_is_repeatable=True, type_depth=depth)
    assert ask(api, query)["__schema"]["queryType"] == {"name": "Query", "kind": "OBJECT"}


def test_a_query_at_its_limits_is_answered(api: GraphqlHandler) -> None:
    aliases = " ".join(f"a{number}: __typename" for number in range(limits.MAX_ALIASES))
    fields = "__typename " * (limits.MAX_FIELDS - limits.MAX_ALIASES)
    assert len(ask(api, f"{{ {aliases} {fields} }}")) == limits.MAX_ALIASES + 1


@pytest.mark.parametrize("query", ["{ __schema { description } }", '{ __type(name: "Query") { name } }'])
def test_introspection_that_is_turned_off_is_refused(query: str, closed: GraphqlHandler) -> None:
    assert "introspection has been disabled" in errors(closed, query)[0]


def test_without_introspection_no_message_tells_of_the_schema(closed: GraphqlHandler, api: GraphqlHandler) -> None:
    assert ask(closed, "{ __typename aiInstanceUsageData { __typename } }")["__typename"] == "Query"
    event = "query ($event: AiUsageEventType!) { aiInstanceUsageData { all(events: [$event]) { nodes { id } } } }"
    wrong = [
        {"query": "{ aiInstanceUsag }"},
        {"query": "{ aiInstanceUsageData { all(firsd: 1) { nodes { id } } } }"},
        {"query": "{ aiInstanceUsageData { all(events: [TROUBLESHOOT_JOBS]) { nodes { id } } } }"},
        {"query": event, "variables": {"event": "TROUBLESHOOT_JOBS"}},
    ]
    assert all("Did you mean" not in message for query in wrong for message in errors(closed, query))


def test_suggestions_are_made_where_the_schema_may_be_seen(api: GraphqlHandler) -> None:
    assert errors(api, "{ namespac }") == [
        "Cannot query field 'namespac' on type 'Query'. Did you mean 'namespace' or 'namespaces'?"
    ]


def test_a_query_is_parsed_and_validated_once(api: GraphqlHandler) -> None:
    documents = DocumentCache(api.schema, introspection=True)
    first = documents.document("{ __typename }")
    assert documents.document("{ __typename }") is first
    for _ in range(2):
        with pytest.raises(InvalidQuery):
            documents.document("{ nothing }")
    for number in range(200):
        documents.document(f"{{ a{number}: __typename }}")
    assert documents.document("{ __typename }") is not first


def test_a_budget_of_nodes_is_for_the_whole_query() -> None:
    nodes = budget.NodeBudget()
    for _ in range(10):
        nodes.take(1000)
    with pytest.raises(InvalidArgument, match="10,001 nodes or more; at most 10,000 are allowed"):
        nodes.take(1)


def test_a_deadline_says_how_long_is_left() -> None:
    assert 0 < budget.Deadline(1_000_000).remaining() <= 1_000_000
    with pytest.raises(QueryTooSlow):
        budget.Deadline(0).remaining()


TOO_SLOW = "The query took too long: ask for fewer days, events or namespaces."


def test_a_statement_that_postgresql_takes_too_long_for_is_given_up(api: GraphqlHandler, database_url: str) -> None:
    store(database_url, 10, {})
    with psycopg.connect(database_url) as blocker:
        blocker.execute("LOCK TABLE ai_usage_events IN ACCESS EXCLUSIVE MODE")
        api.max_seconds = 0.5
        assert errors(api, NODES % "id") == [TOO_SLOW]
        api.max_seconds = MAX_SECONDS
    assert len(ask(api, NODES % "id")["aiInstanceUsageData"]["all"]["nodes"]) == 10
    limit = api.database.run(lambda connection: connection.execute("SHOW statement_timeout").fetchone())
    assert limit == ("9s",)


def test_a_statement_that_clickhouse_takes_too_long_for_is_given_up(
    api: GraphqlHandler, database_url: str, clickhouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Sync(database_url, clickhouse_url).run(60)
    api.stores = StoreRouter(api.database, clickhouse_url)
    endless = "SELECT sum(sleepEachRow(0.1)) FROM numbers(100) SETTINGS max_block_size = 1"
    monkeypatch.setattr("functions.graphql.clickhouse.store._COUNT", endless)
    api.max_seconds = 2
    assert errors(api, "{ aiInstanceUsageData { all { count } } }") == [TOO_SLOW]


def test_a_query_over_many_days_that_takes_too_long_says_over_how_many(api: GraphqlHandler, database_url: str) -> None:
    with psycopg.connect(database_url) as blocker:
        blocker.execute("LOCK TABLE ai_usage_events IN ACCESS EXCLUSIVE MODE")
        api.max_seconds = 0.5
        query = '{ aiInstanceUsage(startDate: "2006-01-01", endDate: "2025-12-31") { totalCount } }'
        (message,) = errors(api, query)
    assert message.startswith("The query took too long over 7,305 days: ask for fewer days, or")


def test_a_query_that_takes_too_long_is_given_up(
    api: GraphqlHandler, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(database_url, 10, {})
    assert len(ask(api, NODES % "user { id }")["aiInstanceUsageData"]["all"]["nodes"]) == 10
    seconds = iter([*[1.0] * 5, *[-1.0] * 100])
    monkeypatch.setattr("functions.graphql.query.budget.Deadline.remaining", lambda _: late(next(seconds)))
    assert errors(api, NODES % "user { id }") == [TOO_SLOW]


def test_a_query_whose_time_is_over_before_its_first_field_is_given_up(api: GraphqlHandler) -> None:
    api.max_seconds = 0
    assert errors(api, NODES % "id") == [TOO_SLOW]


def late(seconds: float) -> float:
    if seconds < 0:
        raise QueryTooSlow
    return seconds


def test_an_answer_that_lambda_could_not_send_is_refused(api: GraphqlHandler, database_url: str) -> None:
    store(database_url, 1000, {"text": '"' * 3000})
    (message,) = errors(api, NODES % "payload")
    assert message == "The answer has more than 6,290,432 bytes: ask for fewer events or fields."
    assert len(ask(api, NODES.replace("1000", "300") % "payload")["aiInstanceUsageData"]["all"]["nodes"]) == 300


def store(database_url: str, count: int, payload: dict[str, Any]) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)"
            " SELECT gen_random_uuid(), %s, 6, number, %s FROM generate_series(1, %s) AS numbers (number)",
            [NOW, json.dumps(payload), count],
        )


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        (None, 200),
        ({}, 200),
        ({"utm_source": "mail"}, 200),
        ({"query": "{ __typename }"}, 405),
        ({"variables": ""}, 405),
        ({"operationName": "a"}, 405),
        ({"extensions": "{}"}, 405),
        ({"documentId": "a"}, 405),
        ({"id": "a"}, 405),
    ],
)
def test_a_query_is_never_taken_from_the_address(
    parameters: Any, status: int, api: GraphqlHandler, tmp_path: Path
) -> None:
    (tmp_path / "graphiql.html").write_text("a page")
    api.pages = Pages(tmp_path)
    answer = api({"httpMethod": "GET", "headers": {}, "queryStringParameters": parameters}, None)
    assert answer["statusCode"] == status
    if status == 405:
        assert "Send queries by POST" in json.loads(answer["body"])["message"]
        assert answer["headers"]["Allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (json.dumps({"query": "x" * 256 * 1024}), 413, "The body has 262,157 bytes; at most 262,144 are allowed."),
        ({"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "a"}}}, 400, "Persisted queries are not"),
        ({"documentId": "a", "query": ""}, 400, "Persisted queries are not"),
        ("[" * 100_000, 400, "not JSON"),
        ('{"query": "\ud800"}', 400, "not JSON"),
        ('{"query": "{ __typename }", "variables": {"a": 1e999}}', 400, "not JSON"),
        ([{"query": "{ __typename }"}], 400, "with one query."),
    ],
)
def test_what_is_not_one_query_is_refused(body: Any, status: int, said: str, api: GraphqlHandler) -> None:
    answered, answer = request(api, body)
    message = answer["errors"][0]["message"] if status == 400 else answer["message"]
    assert (answered, said in message) == (status, True)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"query": "{ __typename }", "variables": []}, "variables must be an object, or null."),
        ({"query": "{ __typename }", "variables": "{}"}, "variables must be an object, or null."),
        ({"query": "{ __typename }", "operationName": 1}, "operationName must be a text, or null."),
        ({"query": "{ __typename }", "operationName": "x" * 100_000}, "Unknown operation named 'xxx"),
        ({"query": "{ __typename }", "variables": {"a": ["1"] * 1001}}, "1,001 values in one list of its variables"),
        (
            {"query": "{ __typename }", "variables": {"a": [{"b": "x" * 20_000}]}},
            "20,000 characters in one text of its variables",
        ),
        ({"query": ["{ __typename }"]}, "query must be a text, and not empty."),
        ({"query": "query a { __typename } query b { __typename }"}, "Must provide operation name"),
        ({"query": "mutation { __typename }"}, "mutation"),
        ({"query": "subscription { __typename }"}, "subscription"),
        ({"query": f"{{ {'x' * 9_000} }}"}, "Cannot query field 'xxx"),
    ],
)
def test_an_odd_part_of_a_query_is_named_briefly(query: Any, said: str, api: GraphqlHandler) -> None:
    (message,) = errors(api, query)
    assert said in message
    assert len(message) <= 301


def test_other_keys_of_a_request_are_ignored(api: GraphqlHandler) -> None:
    query: Any = {"query": "{ __typename }", "extensions": {"persistedQuery": {}}, "variables": None, "more": [1]}
    assert request(api, query) == (200, {"data": {"__typename": "Query"}})


def test_an_error_before_any_query_shows_an_id_that_is_in_the_log(
    api: GraphqlHandler, caplog: pytest.LogCaptureFixture
) -> None:
    status, answer = request(api, {"query": "{ __typename }"}, headers=["SECRET_HEADER"])
    assert status == 500
    error_id = answer["message"].removesuffix(".").rpartition(" ")[2]
    assert answer["message"] == f"Something went wrong on our side; the log knows it as {error_id}."
    assert [record for record in caplog.records if getattr(record, "error_id", None) == error_id]


def test_a_document_is_measured_quickly_however_it_is_made() -> None:
    document = parse(chain(300, "...f{0} " * 3))
    with pytest.raises(GraphQLError):
        limits.check(document)


def test_aliases_count_wherever_their_fragment_is_spread(api: GraphqlHandler) -> None:
    metrics = " ".join(f"m{number}: aiMetrics {{ usersCount }}" for number in range(10))
    spreads = " ".join(f'n{number}: namespace(fullPath: "9/") {{ ...f }}' for number in range(5))
    (message,) = errors(api, f"{{ {spreads} }} fragment f on Namespace {{ {metrics} }}")
    assert message.startswith("The query has 55 aliases")


def test_the_paths_of_a_page_are_limited_over_all_its_aliases(api: GraphqlHandler) -> None:
    path = ".".join("a" * 50)
    fields = " ".join(f'p{number}: payload(paths: ["{path}.b{number}"])' for number in range(10))
    (message,) = errors(api, NODES % fields)
    assert message == "The payload paths of a page have at most 500 steps in all, not 510."
