"""Transformations and prefetches of definitions, run by the consumer."""

import json
import textwrap
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from functions.ingest.message.batch import Batch
from functions.ingest.outcome import Outcome
from functions.ingest.pipeline import Consumer
from functions.shared.catalog.registry import load
from functions.shared.grant import Grant
from functions.shared.identifier import derived_id
from functions.shared.postgres import Database, TimeLimits
from functions.shared.timestamp import format_timestamp
from tests.support.clock import NOW
from tests.support.definitions import write_package

type Consume = Callable[..., Outcome]

type Stored = Callable[[str], list[Any]]

YESTERDAY = NOW - timedelta(days=1)


@pytest.fixture
def consume(database_url: str, folder: Path) -> Iterator[Consume]:
    """Consumes events with the definitions of one file."""
    database = Database(database_url, TimeLimits(30, 30))

    def consume(definition: str, *events: dict[str, Any], grant: Grant | None = None) -> Outcome:
        package = write_package(folder, team=HEAD + textwrap.dedent(definition))
        consumer = Consumer(database, load(package.name), 3)
        raw = [msgspec.Raw(json.dumps({"event": "a", "user_id": 1} | event).encode()) for event in events]
        return consumer.consume([Batch(package.name, NOW, raw, grant=grant)])

    yield consume
    database.close()


HEAD = """
from datetime import datetime

from definitions import Context, Feature, Payload, source

class Team(Payload):
    number: int | None = None
    text: str | None = None
"""


@pytest.fixture
def stored(database_url: str) -> Iterator[Stored]:
    with psycopg.connect(database_url, autocommit=True) as connection:

        def stored(columns: str) -> list[Any]:
            rows = connection.execute(f"SELECT {columns} FROM ai_usage_events ORDER BY id").fetchall()
            return [row[0] if len(row) == 1 else row for row in rows]

        yield stored


def codes(outcome: Outcome) -> list[str]:
    return [rejected.code for rejected in outcome.rejected]


SOURCED = (
    "class Job(Payload): "
    'number: int | None = source("value"); job_id: int = source("job", "id"); '
    'pipeline: int | None = source("job", "pipeline", "id"); text: str | None = None\n'
    'f = Feature("t", owner="o", payload=Job)'
)
JOB = {"value": "18", "number": 1, "job": {"id": 7, "pipeline": {"id": 2}}}


@pytest.mark.parametrize(
    ("definition", "sent", "payload"),
    [
        # without a transformation: the context's keys that the class names
        ('f = Feature("t", owner="o", payload=Team); f.events(a=1)', {"number": "18", "other": 1}, {"number": 18}),
        # without a class either: nothing
        ('f = Feature("t", owner="o"); f.events(a=1)', {"number": 18}, {}),
        # keys that the class does not name are kept
        (
            """
            f = Feature("t", owner="o", payload=Team)
            @f.events(a=1)
            def team(context): return {"number": context["number"], "other": {"deep": [None, 1, {}]}, "none": None}
            """,
            {"number": 18},
            {"number": 18, "other": {"deep": [None, 1, {}]}},
        ),
        # each transformation sees what the earlier ones returned
        (
            """
            f = Feature("t", owner="o")
            @f.events(a=1)
            def first(context): return {"number": context["number"] + 1}
            @f.transformation("a")
            def second(context): return {"twice": context["number"] * 2}
            @f.transformation()
            def third(context): return {"number": context["twice"] + 1}
            """,
            {"number": 1},
            {"number": 5, "twice": 4},
        ),
        # keys with a source
        (f"{SOURCED}; f.events(a=1)", JOB | {"text": "t"}, {"number": 18, "job_id": 7, "pipeline": 2, "text": "t"}),
        (f"{SOURCED}; f.events(a=1)", {"job": {"id": "7"}, "value": None}, {"job_id": 7}),
        (f"{SOURCED}; f.events(a=1)", {"job": {"id": 7, "pipeline": None}}, {"job_id": 7}),
        (
            f"{SOURCED}; f.events(a=1)",
            {"additional_properties": {"value": 1, "job": {"id": 7}}},
            {"number": 1, "job_id": 7},
        ),
        # beside them, a transformation returns what it computes
        (
            f"{SOURCED}\n@f.events(a=1)\ndef j(c): return {{'text': 'computed', 'job_id': c['job']['id'] + 1}}",
            JOB | {"text": "t"},
            {"number": 18, "job_id": 8, "pipeline": 2, "text": "computed"},
        ),
    ],
)
def test_transformations_make_the_payload(
    definition: str, sent: dict[str, Any], payload: dict[str, Any], consume: Consume, stored: Stored
) -> None:
    assert codes(consume(definition, sent)) == []
    assert stored("payload") == [payload]


RETURNING = """
    f = Feature("t", owner="o", payload=Team)
    @f.events(a=1)
    def team(context): return eval(context["returned"], {{"datetime": datetime}})
"""


@pytest.mark.parametrize(
    ("returned", "code"),
    [
        ("1 / 0", "transformation_failed"),
        ("[][chr(0) + chr(0xd800)]", "transformation_failed"),
        ("(_ for _ in ()).throw(SystemExit)", "transformation_failed"),
        ("int(chr(0))", "transformation_failed"),
        ("(_ for _ in ()).throw(ValueError(chr(0) + chr(0xd800)))", "transformation_failed"),
        ("None", "not_json"),
        ("[]", "not_json"),
        ("{'a': {1, 2}}", "not_json"),
        ("{'a': datetime(2026, 1, 1)}", "not_json"),
        ("{1: 1}", "not_json"),
        ("{'a': chr(0)}", "invalid_text"),
        ("{'a': chr(0xd800)}", "invalid_text"),
        ("{'a': 2 ** 64}", "number_out_of_range"),
        ("{'a': float('nan')}", "number_out_of_range"),
        ("{'a%2Eb': 1}", "invalid_key"),
        ("{'a': 'x' * 16384}", "payload_too_large"),
        ("{f'own_{key}': key for key in range(65)}", "too_many_keys"),
        ("{'own': {f'{key}': {'a': 1, 'b': 2} for key in range(33)}}", "too_many_keys"),
        ("{'own': [{f'{key}': 1} for key in range(65)]}", "too_many_keys"),
        ("{'number': 'many'}", "invalid_payload"),
        ("{'text': 1}", "invalid_payload"),
        ("{'timestamp': 'nonsense'}", "invalid_timestamp"),
        ("{'timestamp': '2020-01-01'}", "timestamp_out_of_range"),
        ("{'user_id': 0}", "invalid_user"),
        ("{'user_id': 'x'}", "invalid_user"),
        ("{'namespace_path': 'group/'}", "invalid_namespace"),
    ],
)
def test_an_event_whose_payload_can_not_be_stored_is_rejected_alone(
    returned: str, code: str, consume: Consume, stored: Stored
) -> None:
    outcome = consume(RETURNING.format(), {"returned": returned}, {"returned": "{'number': 1}"})
    assert codes(outcome) == [code]
    assert stored("payload") == [{"number": 1}]


@pytest.mark.parametrize(
    "payload",
    [
        {"number": 1} | {f"own_{key}": key for key in range(64)},
        {"own": {f"{key}": {"a": 1, "b": 2} for key in range(32)}},
        {"own": [{"a": number, "b": [[number]]} for number in range(100)]},
        {"own": list(range(100)), "texts": ["a", [], "b"]},
    ],
)
def test_a_payload_may_have_64_keys_that_no_definition_declares(
    payload: dict[str, Any], consume: Consume, stored: Stored
) -> None:
    assert codes(consume(RETURNING.format(), {"returned": repr(payload)})) == []
    assert stored("payload") == [payload]


def test_declared_keys_null_and_overrides_do_not_count_as_undeclared(consume: Consume, stored: Stored) -> None:
    declared = "\n".join(f"    key_{number}: int | None = None" for number in range(70))
    definition = f"""
class Many(Payload):
{declared}

f = Feature("t", owner="o", payload=Many)
@f.events(a=1)
def many(context): return eval(context["returned"])
"""
    payload = {f"key_{number}": number for number in range(70)} | {f"own_{key}": key for key in range(64)}
    returned: dict[str, Any] = payload | {"nothing": None, "empty": {}, "user_id": 7}
    assert codes(consume(definition, {"returned": repr(returned)})) == []
    assert stored("user_id, payload") == [(7, payload)]


def test_what_a_transformation_returns_overrides_the_events_time_user_and_namespace(
    consume: Consume, stored: Stored
) -> None:
    returned = {"timestamp": format_timestamp(YESTERDAY), "user_id": 7, "namespace_path": "3/4/", "number": 1}
    assert codes(consume(RETURNING.format(), {"returned": repr(returned), "namespace_path": "27/"})) == []
    assert stored("timestamp, user_id, namespace_path, payload") == [(YESTERDAY, 7, "3/4/", {"number": 1})]


@pytest.mark.parametrize(
    ("returned", "grant", "code"),
    [
        ({"user_id": 7}, Grant("1", ("events:write:own",), ("*",)), "forbidden_user"),
        ({"namespace_path": "3/"}, Grant("1", ("events:write",), ("27/",)), "forbidden_namespace"),
        ({"namespace_path": "27/28/"}, Grant("1", ("events:write",), ("27/",)), None),
    ],
)
def test_the_grant_is_checked_again_after_the_transformations(
    returned: dict[str, Any], grant: Grant, code: str | None, consume: Consume
) -> None:
    assert codes(consume(RETURNING.format(), {"returned": repr(returned)}, grant=grant)) == ([code] if code else [])


def test_a_key_has_the_type_that_any_definition_declares(consume: Consume, stored: Stored) -> None:
    definition = """
        declaring = Feature("declaring", owner="o", payload=Team); declaring.events(b=2)
        f = Feature("t", owner="o")
        @f.events(a=1)
        def team(context): return {"number": context["number"]}
    """
    assert codes(consume(definition, {"number": "18"}, {"number": "many"})) == ["invalid_payload"]
    assert stored("payload") == [{"number": 18}]


def test_a_required_key_must_be_there(consume: Consume, stored: Stored) -> None:
    definition = """
        class Strict(Payload):
            needed: int
        f = Feature("t", owner="o", payload=Strict)
        f.events(a=1)
    """
    assert codes(consume(definition, {}, {"needed": None}, {"needed": 1})) == ["invalid_payload"] * 2
    assert stored("payload") == [{"needed": 1}]


@pytest.mark.parametrize(
    ("sent", "code", "message"),
    [
        ({}, "invalid_payload", "The payload is not a Job: the key job_id is missing."),
        ({"job": {"id": None}}, "invalid_payload", "The payload is not a Job: the key job_id is missing."),
        ({"job": None}, "invalid_payload", "The payload is not a Job: the key job_id is missing."),
        ({"job": "7"}, "transformation_failed", "job: expected an object."),
        ({"job": {"id": 7, "pipeline": 2}}, "transformation_failed", "job.pipeline: expected an object."),
        ({"job": {"id": "seven"}}, "invalid_payload", "job_id: expected an integer, got a string."),
    ],
)
def test_a_key_with_a_source_is_checked_like_any_other(
    sent: dict[str, Any], code: str, message: str, consume: Consume
) -> None:
    (rejected,) = consume(f"{SOURCED}; f.events(a=1)", sent).rejected
    assert (rejected.code, rejected.message) == (code, message)


def test_prefetch_is_called_once_for_a_batch_and_adds_to_the_contexts(consume: Consume, stored: Stored) -> None:
    definition = """
        f = Feature("t", owner="o")
        calls = []
        @f.events(a=1)
        def team(context): return {"double": context["double"], "calls": len(calls)}
        @f.prefetch
        def double(contexts, connection):
            calls.append(1)
            numbers = [context["number"] for context in contexts]
            rows = connection.execute("SELECT number * 2 FROM unnest(%s::int[]) AS number", [numbers])
            return [{"double": double} for double, in rows]
    """
    assert codes(consume(definition, {"number": 1}, {"number": 2})) == []
    assert sorted(payload["double"] for payload in stored("payload")) == [2, 4]
    assert {payload["calls"] for payload in stored("payload")} == {1}


PREFETCHING = """
import psycopg

f = Feature("t", owner="o")
f.events(a=1)
@f.prefetch
def prefetch(contexts, connection):
    {body}

other = Feature("other", owner="o")
other.events(b=2)
"""


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError('broken')",
        "raise SystemExit",
        "return []",
        "return [1] * len(contexts)",
        "connection.execute('INSERT INTO users (id) VALUES (99)'); return [{} for _ in contexts]",
        "connection.execute('SELECT 1 / 0')",
        "connection.execute('SELECT pg_sleep(30)')",
        "[connection.execute('SELECT pg_sleep(2)') for _ in range(4)]",
    ],
)
def test_a_prefetch_that_fails_or_takes_too_long_rejects_only_its_features_events(
    body: str, consume: Consume, stored: Stored
) -> None:
    outcome = consume(PREFETCHING.format(body=body), {}, {"event": "b"}, {})
    assert codes(outcome) == ["prefetch_failed", "prefetch_failed"]
    assert stored("event") == [2]


@pytest.mark.parametrize(
    "change",
    [
        "connection.execute('SET search_path = pg_catalog')",
        "connection.execute('SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY')",
        "connection.row_factory = psycopg.rows.dict_row",
        "connection.cursor_factory = psycopg.ClientCursor",
        "connection.execute('COMMIT'); connection.execute('BEGIN')",
        "connection.execute('COMMIT'); connection.execute('BEGIN'); connection.execute('SELECT 1 / 0')",
    ],
)
def test_what_a_prefetch_does_to_its_connection_is_of_no_concern_to_others(
    change: str, consume: Consume, stored: Stored, database_url: str
) -> None:
    definition = PREFETCHING.format(body=f"{change}; return [{{}} for _ in contexts]")
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO namespaces (id, path) VALUES (28, '27/28/')")
    consume(definition, {})
    consume(definition, {}, {"event": "b", "namespace_id": 28})
    assert (2, "27/28/") in stored("event, namespace_path")


def test_a_connection_that_breaks_within_a_prefetch_is_made_anew(consume: Consume, stored: Stored) -> None:
    definition = """
        f = Feature("t", owner="o")
        f.events(a=1)
        calls = []
        @f.prefetch
        def prefetch(contexts, connection):
            calls.append(1)
            if len(calls) == 1:
                connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            return [{} for _ in contexts]
    """
    assert codes(consume(definition, {})) == []
    assert stored("event") == [1]


def test_a_connection_that_keeps_breaking_is_no_fault_of_the_events(consume: Consume, stored: Stored) -> None:
    definition = """
        f = Feature("t", owner="o")
        f.events(a=1)
        @f.prefetch
        def prefetch(contexts, connection):
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    """
    with pytest.raises(psycopg.OperationalError):
        consume(definition, {})
    assert stored("event") == []


def test_a_large_float_is_stored_with_a_fraction(consume: Consume, stored: Stored) -> None:
    returned = {"x": 1e20, "y": [1e300, -1e25], "z": {"w": 1e19}}
    assert codes(consume(RETURNING.format(), {"returned": repr(returned)})) == []
    (text,) = stored("payload::text")
    assert json.loads(text) == returned
    assert text.count(".0") == 4


def test_rows_that_transformations_move_to_other_months_are_stored_once(consume: Consume, stored: Stored) -> None:
    events = [
        {
            "id": str(derived_id(NOW, "", number)),
            "timestamp": format_timestamp(NOW - timedelta(days=number % 3)),
            "returned": repr({"number": number, "timestamp": format_timestamp(NOW - timedelta(days=number % 80))}),
        }
        for number in range(500)
    ]
    assert codes(consume(RETURNING.format(), *events)) == []
    outcome = consume(RETURNING.format(), *events, events[0])
    assert (outcome.stored, outcome.duplicates) == (0, 501)
    assert sorted(payload["number"] for payload in stored("payload")) == list(range(500))


LAZY = """
from collections import UserDict
class Lazy(UserDict):
    def __iter__(self): raise ConnectionError
f = Feature("t", owner="o")
"""

ODD_DEFINITIONS = {
    "a prefetch that returns nothing": (
        """
        f = Feature("t", owner="o"); f.events(a=1)
        @f.prefetch
        def fetch(contexts, connection): pass
        """,
        "prefetch_failed",
    ),
    "a prefetch that yields": (
        """
        f = Feature("t", owner="o"); f.events(a=1)
        @f.prefetch
        def fetch(contexts, connection): yield from contexts
        """,
        "prefetch_failed",
    ),
    "a transformation without a name that raises": (
        """
        from functools import partial
        f = Feature("t", owner="o")
        f.events(a=1)(partial(lambda key, context: context[key], "missing"))
        """,
        "transformation_failed",
    ),
    "an exception that can't be shown": (
        """
        class Odd(Exception):
            def __str__(self): raise RuntimeError
        f = Feature("t", owner="o")
        @f.events(a=1)
        def team(context): raise Odd
        """,
        "transformation_failed",
    ),
    "a mapping that can't be read": (
        LAZY + "team = f.events(a=1)(lambda context: Lazy())",
        "transformation_failed",
    ),
    "a value that can't be read": (
        LAZY + "team = f.events(a=1)(lambda context: {'of_it': Lazy()})",
        "not_json",
    ),
    "a class that ends the program": (
        """
        class Picky(Payload):
            number: int | None = None
            def __post_init__(self): raise SystemExit
        f = Feature("t", owner="o", payload=Picky); f.events(a=1)
        """,
        "invalid_payload",
    ),
    "a key that can't be shown": (
        """
        class Key:
            def __repr__(self): raise RuntimeError
        f = Feature("t", owner="o")
        f.events(a=1)(lambda context: {Key(): 1})
        """,
        "not_json",
    ),
    "a class that raises": (
        """
        class Picky(Payload):
            number: int | None = None
            def __post_init__(self): raise KeyError("number")
        f = Feature("t", owner="o", payload=Picky); f.events(a=1)
        """,
        "invalid_payload",
    ),
}


@pytest.mark.parametrize(("definition", "code"), ODD_DEFINITIONS.values(), ids=ODD_DEFINITIONS)
def test_an_odd_definition_rejects_its_own_events_alone(
    definition: str, code: str, consume: Consume, stored: Stored
) -> None:
    other = 'Feature("other", owner="o").events(b=2)'
    outcome = consume(f"{textwrap.dedent(definition)}\n{other}", {"number": 1}, {"event": "b"})
    assert codes(outcome) == [code]
    assert stored("event") == [2]


def test_a_project_of_a_transformation_is_looked_up_again_on_a_new_connection(
    consume: Consume, stored: Stored, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO projects (id, namespace_path) VALUES (4444, '99/100/')")
    cutting = f"""
        import psycopg
        f = Feature("t", owner="o")
        @f.events(a=1)
        def team(context):
            with psycopg.connect({database_url!r}, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND query LIKE '%projects%' AND pid <> pg_backend_pid()"
                )
            return {{"project_id": 4444}}
    """
    outcome = consume(cutting, {}, grant=Grant("1", ("events:write",), ("27/",)))
    assert codes(outcome) == ["forbidden_namespace"]
    assert stored("id") == []
