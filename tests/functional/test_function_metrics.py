"""What each function counts about requests, batches and queries, in CloudWatch's embedded metric format."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import psycopg
import pytest

from functions.graphql.handler import GraphqlHandler
from functions.ingest.api_handler import IngestHandler
from functions.ingest.consumer_handler import ConsumerHandler
from functions.shared.metrics import MAX_VALUES, Metric, emit
from functions.shared.timestamp import format_timestamp, utc_now
from tests.functional.test_ingest_api import CHAT, api, post, sqs
from tests.support.consuming import consume
from tests.support.emitted_metrics import Emitted, emitted
from tests.support.graphql import Insert, ask, built, request

__all__ = ["api", "sqs"]  # fixtures

STACK = {"stack": "a-stack", "service": "a-function"}
AN_ID = "0198f0a2-6b1c-7d3e-9a55-0d2f5c1b7e44"
COUNT = Metric("Count", "Count", "")
PAGE = "{ aiInstanceUsageData { all(first: 2) { count nodes { id } } } }"


@pytest.fixture(autouse=True)
def named() -> Iterator[None]:
    """Names the stack and the function, as the template does."""
    with patch.dict("os.environ", {"STACK_NAME": STACK["stack"], "POWERTOOLS_SERVICE_NAME": STACK["service"]}):
        yield


@pytest.fixture
def read(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[Emitted]]:
    """Returns a function that returns what was emitted since its last call."""
    return lambda: list(emitted(capsys.readouterr().out))


type Read = Callable[[], list[Emitted]]


def totals(metrics: list[Emitted]) -> dict[str, tuple[float, ...]]:
    """Returns the values that count without further dimensions."""
    return {one.name: one.values for one in metrics if one.dimensions == STACK}


def by(metrics: list[Emitted], name: str) -> dict[str, tuple[float, ...]]:
    """Returns the values of a metric by its further dimension."""
    further = [one for one in metrics if one.name == name and one.dimensions.keys() > STACK.keys()]
    return {value: one.values for one in further for key, value in one.dimensions.items() if key not in STACK}


def record(body: Any, number: int = 0, seconds: float = 0, deliveries: int = 1) -> dict[str, Any]:
    """Returns a message that was sent so many seconds ago."""
    sent = round((utc_now() - timedelta(seconds=seconds)).timestamp() * 1000)
    return {
        "messageId": f"message-{number}",
        "body": json.dumps(body),
        "attributes": {"SentTimestamp": str(sent), "ApproximateReceiveCount": str(deliveries)},
    }


def event(**changes: Any) -> dict[str, Any]:
    return {"event": "request_duo_chat_response", "id": str(uuid4()), "user_id": 1} | changes


def test_more_values_than_a_line_takes_are_written_in_several(read: Read) -> None:
    ages = [float(number) for number in range(2 * MAX_VALUES + 1)]
    emit({COUNT: 7, Metric("Age", "Seconds", ""): ages})
    lines = read()
    assert [value for one in lines if one.name == "Age" for value in one.values] == ages
    assert [one.values for one in lines if one.name == "Count"] == [(7,)]
    assert max(len(one.values) for one in lines) == MAX_VALUES


def test_further_dimensions_count_beside_the_functions_own(read: Read) -> None:
    emit({COUNT: 1}, {"code": "a"}, tenant="27/")
    assert [one.dimensions for one in read()] == [STACK, STACK | {"code": "a"}]
    emit({COUNT: 1}, {"code": "a"}, only_by=True)
    assert [one.dimensions for one in read()] == [STACK | {"code": "a"}]
    emit({})
    assert read() == []


def test_a_request_counts_its_events_by_outcome_and_code(api: IngestHandler, read: Read) -> None:
    ignored = {"event": "elsewhere", "additional_properties": {}}
    post(api, [CHAT, {"event": "unknown"}, {"event": "unknown"}, 5, ignored])
    counted = read()
    values = totals(counted)
    assert values.pop("RequestMilliseconds")[0] > 0
    assert values == {
        "Requests": (1,),
        "RequestEvents": (5,),
        "AcceptedEvents": (1,),
        "AcceptedBytes": (len(json.dumps(CHAT)),),
        "IgnoredEvents": (1,),
        "RejectedEvents": (3,),
        "RefusedRequests": (0,),
        "LimitedRequests": (0,),
        "UnavailableAnswers": (0,),
    }
    assert sum(events for (events,) in by(counted, "RejectedEvents").values()) == 3
    assert by(counted, "RejectedEvents")["unknown_event"] == (2,)


def test_a_refused_request_counts_by_its_reason(api: IngestHandler, read: Read) -> None:
    post(api, CHAT, scope="events:read")
    counted = read()
    assert (totals(counted)["RefusedRequests"], totals(counted)["UnavailableAnswers"]) == ((1,), (0,))
    assert by(counted, "RefusedRequests") == {"Forbidden": (1,)}


def test_a_queue_that_is_away_makes_an_unavailable_answer(api: IngestHandler, sqs: Any, read: Read) -> None:
    sqs.delete_queue(QueueUrl=sqs.list_queues()["QueueUrls"][0])
    assert post(api, CHAT)[0] == 503
    assert totals(read())["UnavailableAnswers"] == (1,)


def test_a_batch_counts_its_events_once_and_each_messages_age(consumer: ConsumerHandler, read: Read) -> None:
    stored = event()
    messages = [
        record([stored, {"event": "unknown"}], 1, seconds=90),
        record([stored, event(), {"event": "elsewhere", "additional_properties": {}}], 2),
    ]
    assert consume(consumer, *messages) == []
    counted = read()
    values = totals([one for one in counted if one.name not in ("AcceptedEvents", "AcceptedBytes")])
    young, old = sorted(values.pop("StoredAgeSeconds"))
    assert 0 <= young < 60 < 90 <= old
    assert values.pop("BatchMilliseconds")[0] > 0
    assert sorted(values.pop("LateMessages")) == [0, 1]
    assert values == {
        "BatchMessages": (2,),
        "BatchEvents": (5,),
        "StoredEvents": (2,),
        "DuplicateEvents": (1,),
        "IgnoredEvents": (1,),
        "RejectedEvents": (1,),
        "UnstoredMessages": (0,),
        "UnconsumableMessages": (0,),
        "DatabaseFailures": (0,),
    }
    assert by(counted, "RejectedEvents") == {"unknown_event": (1,)}


def test_a_batch_that_postgresql_refused_as_a_whole_is_counted(
    consumer: ConsumerHandler, connection: psycopg.Connection, read: Read
) -> None:
    connection.execute("ALTER TABLE ai_usage_events RENAME TO elsewhere")
    assert consume(consumer, record(event(), 1), record(event(), 2)) == ["message-1", "message-2"]
    values = totals(read())
    assert (values["DatabaseFailures"], values["UnstoredMessages"], values["UnconsumableMessages"]) == (
        (1,),
        (2,),
        (0,),
    )


def test_a_message_that_the_code_fails_on_is_counted(
    consumer: ConsumerHandler, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(body: bytes, _: object) -> Any:
        raise ValueError(body)

    monkeypatch.setattr(consumer, "read", failing)
    assert consume(consumer, record(event(), 1)) == ["message-1"]
    values = totals(read())
    assert (values["UnconsumableMessages"], values["UnstoredMessages"], values["DatabaseFailures"]) == (
        (1,),
        (1,),
        (0,),
    )


def test_a_partition_that_the_consumer_had_to_make_is_counted(
    consumer: ConsumerHandler, connection: psycopg.Connection, read: Read
) -> None:
    now = utc_now()
    connection.execute(f"DROP TABLE ai_usage_events_{now:%Y%m}")
    assert consume(consumer, record(event(timestamp=format_timestamp(now)))) == []
    assert totals(read())["PartitionsMadeByConsumer"] == (1,)


def test_a_query_counts_time_and_rows_by_source_and_field(
    either: GraphqlHandler, insert: Insert, store_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        insert()
    ask(either, PAGE)
    output = capsys.readouterr().out
    counted = list(emitted(output))
    assert (totals(counted)["Queries"], totals(counted)["FailedQueries"]) == ((1,), (0,))
    assert by(counted, "Queries") == {store_name: (1,)}
    assert by(counted, "QueryMilliseconds")[store_name][0] > 0
    lines = [json.loads(line) for line in output.splitlines() if "ReadMilliseconds" in line]
    rows = {line["field"]: (len(line["ReadMilliseconds"]), line["RowsRead"]) for line in lines}
    assert rows["AiUsageEventConnection.count"] == (1, 1)
    assert sorted(rows.values()) == [(1, 1), (1, 3)]  # a row more than the page holds says that there is another


def test_an_export_counts_its_reads(api_of_graphql: GraphqlHandler, insert: Insert, capsys: Any) -> None:
    insert()
    event: dict[str, Any] = {"httpMethod": "GET", "resource": "/v1/export", "queryStringParameters": {"format": "csv"}}
    handler = api_of_graphql
    event["headers"] = _headers(handler)
    assert handler(event, None)["statusCode"] == 200
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "RowsRead" in line]
    assert [(line["field"], line["source"], line["RowsRead"]) for line in lines] == [("export", "postgresql", 1)]


def _headers(handler: GraphqlHandler) -> dict[str, str]:
    seen: list[dict[str, str]] = []

    def noted(event: dict[str, Any], _: object) -> dict[str, Any]:
        seen.append(event["headers"])
        return handler(event, None)

    request(noted, {"query": "{ __typename }"})  # type: ignore[arg-type]
    return seen[0]


@pytest.fixture
def api_of_graphql(database_url: str) -> Iterator[GraphqlHandler]:
    """The function behind `/graphql`; `api` is the one behind `/v1/events` here."""
    with built(database_url) as handler:
        yield handler


@pytest.fixture
def either(request: pytest.FixtureRequest, store_name: str, database_url: str) -> Iterator[GraphqlHandler]:
    """The function behind `/graphql`, on either store."""
    from functions.graphql.store_router import StoreRouter
    from functions.sync.sync import Sync
    from tests.functional.conftest import BroughtHandler

    with built(database_url) as handler:
        if store_name == "postgresql":
            yield handler
            return
        url = request.getfixturevalue("clickhouse_url")
        sync = Sync(database_url, url)
        handler.stores = StoreRouter(handler.database, url)
        brought = BroughtHandler(**{name: getattr(handler, name) for name in GraphqlHandler.__dataclass_fields__})
        brought.bring = lambda: sync.run(60)
        yield brought


def test_a_query_of_a_database_that_is_away_has_failed(read: Read) -> None:
    with built("postgresql://nobody@127.0.0.1:1/nothing") as handler:
        assert request(handler, {"query": PAGE})[0] == 200
    values = totals(read())
    assert (values["FailedQueries"], values["SlowQueries"]) == ((1,), (1,))


def test_a_mistake_in_a_query_is_no_failure_of_ours(api_of_graphql: GraphqlHandler, read: Read) -> None:
    request(api_of_graphql, {"query": "{ nothing }"})
    assert totals(read())["FailedQueries"] == (0,)


def test_a_page_is_no_query(api_of_graphql: GraphqlHandler, read: Read) -> None:
    api_of_graphql({"httpMethod": "GET", "resource": "/graphql"}, None)
    assert read() == []
