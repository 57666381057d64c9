"""Facts about namespaces, projects and users: sender and time decide which one counts."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from functions.graphql.postgres.directory import PostgresDirectory
from functions.ingest.directory import known_facts, lock, subjects
from functions.ingest.directory.fact import Facts, Subject
from functions.ingest.directory.known_facts import read_facts
from functions.ingest.directory.lock import fold_restated
from functions.ingest.message.batch import Batch
from functions.ingest.pipeline import Consumer
from functions.shared.catalog import registry
from functions.shared.grant import Grant
from functions.shared.postgres import Connection, Database, TimeLimits
from functions.shared.timestamp import format_timestamp
from tests.support.accounts import Query
from tests.support.clock import NOW

EXAMPLES = 2_000 if os.environ.get("SOAK") else 40
EVERYWHERE = Grant("1", ("events:write",), ("*",))
TENANT = Grant("5", ("events:write",), ("27/",))
OWN = Grant("5", ("events:write:own",), ("27/",))
OWN_EVERYWHERE = Grant("5", ("events:write:own",), ("*",))
NOWHERE = Grant("5", ("events:write", "directory:write"), ())
STRANGER = Grant("6", ("events:write",), ("99/",))
STEWARD = Grant("7", ("events:write", "directory:write"), ("27/",), issuer="https://issuer.example")
OTHER_STEWARD = Grant("8", ("events:write", "directory:write"), ("99/",))
LIMITED = [TENANT, OWN, OWN_EVERYWHERE, NOWHERE]
AUTHORITATIVE = [None, EVERYWHERE, STEWARD]

PLACES = """
    SELECT 'namespace' AS kind, id, path, full_path FROM namespaces
    UNION ALL
    SELECT 'project', id, namespace_path, full_path FROM projects
    ORDER BY kind, id
"""
# Whether an event that names no path is stored, and its user known, is what was known of its place when it came.
NAMED = "SELECT id, username FROM users WHERE username IS NOT NULL ORDER BY id"
FACTS = """
    SELECT kind, id, attribute, scope, value, stated_at, issuer, sub, first_received_at
    FROM facts
    UNION ALL
    SELECT 'user', user_id, 'username', namespace_path, username, stated_at, issuer, sub, NULL
    FROM user_names
    ORDER BY kind, id, attribute, scope
"""


@pytest.fixture
def consumer(database_url: str) -> Any:
    consumer = Consumer(Database(database_url, TimeLimits(30, 30)), registry.load(), 3)
    yield consumer
    consumer.database.close()


def event(days_ago: float = 0, **attributes: Any) -> dict[str, Any]:
    time = format_timestamp(NOW - timedelta(days=days_ago))
    return {"event": "request_duo_chat_response", "user_id": 5, "timestamp": time} | attributes


def batch(events: Sequence[Any], grant: Grant | None, received_at: datetime = NOW) -> Batch:
    raw = [msgspec.Raw(json.dumps(one).encode()) for one in events]
    return Batch(f"{random.getrandbits(64)}", received_at, raw, grant=grant)


random = Random(1)


def project(number: int, path: str | None = None, full_path: str | None = None) -> dict[str, Any]:
    return {"id": number, "full_path": full_path} | ({"namespace": {"path": path}} if path else {})


def paths_of(query: Query, number: int = 555) -> list[Any]:
    return [row["namespace_path"] for row in query("SELECT * FROM ai_usage_events WHERE user_id = %s", number)]


def times_of(query: Query) -> set[datetime]:
    """The times of all facts, except that a namespace was known at a path, which needs none."""
    return {fact["stated_at"] for fact in query(FACTS) if fact["attribute"] != "known_path"}


def place_of(query: Query, kind: str, number: int) -> tuple[Any, Any] | None:
    found = [row for row in query(PLACES) if (row["kind"], row["id"]) == (kind, number)]
    return (found[0]["path"], found[0]["full_path"]) if found else None


@pytest.mark.parametrize("grant", [STRANGER, Grant("6", ("events:write:own",), ("99/",))], ids=str)
def test_a_tenant_can_not_claim_the_project_of_another(consumer: Consumer, query: Query, grant: Grant) -> None:
    claim = event(user_id=6, project=project(555, "99/", "victim-org/app"))
    consumer.consume([batch([claim], grant)])
    consumer.consume([batch([event(user_id=555, project_id=555)], None)])
    assert paths_of(query) == [None]
    owned = event(user_id=555, project=project(555, "27/28/", "victim-org/app"))
    consumer.consume([batch([owned], TENANT)])
    consumer.consume([batch([event(user_id=555, project_id=555)], None)])
    assert sorted(paths_of(query), key=str) == ["27/28/", None, None]
    consumer.consume([batch([owned], None)])
    consumer.consume([batch([claim], grant), batch([event(user_id=555, project_id=555)], None)])
    assert sorted(paths_of(query), key=str) == ["27/28/", "27/28/", "27/28/", None, None]
    assert place_of(query, "project", 555) == ("27/28/", "victim-org/app")
    assert query("SELECT code FROM rejected_events") == []


def test_a_limited_senders_explicit_path_places_its_event_and_states_nothing(consumer: Consumer, query: Query) -> None:
    named = [
        event(namespace={"path": "27/28/", "full_path": "own"}),
        event(namespace_path="27/28/"),
        event(project=project(4, "27/28/", "own/project")),
    ]
    consumer.consume([batch(named, TENANT)])
    assert paths_of(query, 5) == ["27/28/"] * 3
    assert query(PLACES) + query(FACTS) + query("SELECT * FROM users") == []


@pytest.mark.parametrize("grant", LIMITED, ids=str)
def test_what_a_limited_sender_says_changes_nothing(consumer: Consumer, query: Query, grant: Grant) -> None:
    known = event(
        10,
        user={"id": 5, "username": "root"},
        namespace={"path": "27/28/", "full_path": "own"},
        project=project(4, "27/28/", "own/project"),
    )
    consumer.consume([batch([known], None)])
    before = query(PLACES), query(FACTS), query("SELECT * FROM users")
    said: dict[str, Any] = {"user": {"id": 5, "username": "renamed"}, "user_id": None}
    consumer.consume([batch([event(**said, namespace={"path": "27/29/", "full_path": "own"})], grant)])
    consumer.consume([batch([event(**said, project=project(4, "27/29/", "new"))], grant)])
    consumer.consume([batch([event(**said, project=project(number, "27/29/")) for number in range(9, 99)], grant)])
    assert (query(PLACES), query(FACTS), query("SELECT * FROM users")) == before


@pytest.mark.parametrize("grant", AUTHORITATIVE, ids=str)
def test_an_authoritative_senders_facts_are_kept_with_time_and_sender(
    consumer: Consumer, query: Query, grant: Grant | None
) -> None:
    said = event(
        3,
        user={"id": 5, "username": "root"},
        namespace={"path": "27/28/", "full_path": "own"},
        project=project(4, None, "own/project"),
    )
    consumer.consume([batch([said], grant)])
    assert query(PLACES) == [
        {"kind": "namespace", "id": 28, "path": "27/28/", "full_path": "own"},
        {"kind": "project", "id": 4, "path": "27/28/", "full_path": "own/project"},
    ]
    assert query("SELECT id, username FROM users") == [{"id": 5, "username": "root"}]
    facts = [fact for fact in query(FACTS) if fact["attribute"] != "known_path"]
    assert [(fact["stated_at"], fact["issuer"], fact["sub"]) for fact in facts] == [
        (NOW - timedelta(days=3), grant.issuer if grant else "", grant.sub if grant else "")
    ] * 5


@pytest.mark.parametrize(
    ("sender", "said", "place"),
    [
        (STEWARD, project(555, "27/29/", "own/new"), ("27/29/", "own/new")),
        (STEWARD, project(555, None, "own/new"), ("27/28/", "own/new")),
        (STEWARD, project(4, "27/29/", "own/new"), ("27/28/", "own/project")),
        (OTHER_STEWARD, project(555, "99/", "stolen"), ("27/28/", "own/project")),
        (OTHER_STEWARD, project(555, None, "stolen"), ("27/28/", "own/project")),
        (OTHER_STEWARD, project(9, "99/", "own/project"), ("27/28/", "own/project")),
        (STEWARD, project(9, "27/30/", "own/project"), ("27/28/", None)),
        (OTHER_STEWARD, project(9, "99/", "others/project"), ("27/28/", "own/project")),
    ],
)
def test_a_sender_with_directory_write_states_facts_within_its_own_namespaces_only(
    consumer: Consumer, query: Query, sender: Grant, said: dict[str, Any], place: tuple[str, str]
) -> None:
    own, others = project(555, "27/28/", "own/project"), project(4, "3/4/", "others/project")
    consumer.consume([batch([event(9, project=own), event(9, project=others)], None)])
    consumer.consume([batch([event(user_id=7, project=said)], sender)])
    assert place_of(query, "project", 555) == place
    assert place_of(query, "project", 4) == ("3/4/", "others/project")


def test_the_first_of_two_stewards_keeps_a_project_whatever_time_the_other_states(
    consumer: Consumer, query: Query
) -> None:
    consumer.consume([batch([event(3, project=project(555, "27/28/", "app"))], STEWARD, NOW - timedelta(hours=1))])
    for days_ago in (80, 0):
        consumer.consume([batch([event(days_ago, project=project(555, "99/", "app"))], OTHER_STEWARD)])
        assert place_of(query, "project", 555) == ("27/28/", "app")
    consumer.consume([batch([event(user_id=555, project_id=555)], None)])
    assert paths_of(query) == ["27/28/"]


def test_a_project_that_a_trusted_sender_named_is_placed_by_nobody_else(consumer: Consumer, query: Query) -> None:
    consumer.consume([batch([event(9, project=project(555, None, "victim-org/app"))], None)])
    consumer.consume([batch([event(project=project(555, "99/"))], OTHER_STEWARD)])
    assert place_of(query, "project", 555) == (None, "victim-org/app")
    consumer.consume([batch([event(user_id=555, project_id=555)], None)])
    assert paths_of(query) == [None]
    consumer.consume([batch([event(project=project(555, "27/28/"))], None)])
    assert place_of(query, "project", 555) == ("27/28/", "victim-org/app")


def test_an_ancestor_in_a_trusted_path_is_claimed_only_from_within_it(consumer: Consumer, query: Query) -> None:
    consumer.consume([batch([event(9, namespace={"path": "27/28/"})], None)])
    consumer.consume([batch([event(namespace={"path": "99/27/"})], OTHER_STEWARD)])
    assert place_of(query, "namespace", 27) is None
    consumer.consume([batch([event(user_id=555, namespace_id=27)], None)])
    assert paths_of(query) == [None]
    consumer.consume([batch([event(3, namespace={"path": "27/", "full_path": "own"})], STEWARD)])
    assert place_of(query, "namespace", 27) == ("27/", "own")


@pytest.mark.parametrize("kind", ["namespace", "project"])
def test_of_many_claims_of_one_tenant_to_a_full_path_only_the_newest_are_compared(
    consumer: Consumer, query: Query, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def claim(number: int, days_ago: float) -> dict[str, Any]:
        place = {"path": f"99/{number}/", "full_path": "one"}
        return event(days_ago, **{kind: place if kind == "namespace" else project(number, "99/", "one")})

    compared: list[int] = []

    def counted(subjects: Iterable[Subject], connection: Connection) -> dict[Subject, Facts]:
        facts = read_facts(subjects, connection)
        compared.append(len(facts))
        return facts

    monkeypatch.setattr(known_facts, "read_facts", counted)
    many = 3 * subjects.MAX_SUBJECTS_PER_FULL_PATH
    consumer.consume([batch([claim(number, 9) for number in range(1000, 1000 + many)], OTHER_STEWARD)])
    compared.clear()
    consumer.consume([batch([claim(5, 3)], OTHER_STEWARD)])
    assert max(compared) <= subjects.MAX_SUBJECTS_PER_FULL_PATH + 2
    assert place_of(query, kind, 5) in [("99/5/", "one"), ("99/", "one")]
    held = [row["id"] for row in query(PLACES) if row["full_path"] == "one" and row["kind"] == kind]
    assert held == [5]


@pytest.mark.parametrize("kind", ["namespace", "project"])
def test_many_claims_to_a_full_path_do_not_keep_its_owner_from_it(consumer: Consumer, query: Query, kind: str) -> None:
    def claim(number: int, path: str, full_path: str | None, days_ago: float) -> dict[str, Any]:
        place = {"path": f"{path}{number}/", "full_path": full_path}
        return event(days_ago, **{kind: place if kind == "namespace" else project(number, path, full_path)})

    many = range(1001, 1003 + subjects.MAX_SUBJECTS_PER_FULL_PATH)
    consumer.consume([batch([claim(number, "27/", None, 9) for number in many], None)])
    consumer.consume([batch([claim(1001, "99/", "v/app", 8)], OTHER_STEWARD, NOW - timedelta(hours=8))])
    consumer.consume([batch([claim(2, "99/", "v/app", 7)], OTHER_STEWARD, NOW - timedelta(hours=7))])
    consumer.consume([batch([claim(number, "99/", "v/app", 1) for number in many], OTHER_STEWARD)])
    outcome = consumer.consume([batch([claim(555, "27/28/", "v/app", 0.5)], None)])
    assert (outcome.stored, outcome.rejected) == (1, [])
    place = place_of(query, kind, 555)
    assert place is not None
    assert place[1] == "v/app"


def test_a_full_path_of_an_unlimited_sender_stays_when_its_owner_repeats_it(consumer: Consumer, query: Query) -> None:
    app = project(555, "27/28/", "victim-org/app")
    consumer.consume([batch([event(9, project=app)], None)])
    consumer.consume([batch([event(8, project=project(9, "99/", "victim-org/app"))], OTHER_STEWARD)])
    consumer.consume([batch([event(7, project=app)], STEWARD)])
    assert place_of(query, "project", 555) == ("27/28/", "victim-org/app")
    consumer.consume([batch([event(6, project=project(2, "27/", "victim-org/app"))], STEWARD)])
    assert place_of(query, "project", 2) == ("27/", "victim-org/app")


def test_a_full_path_that_two_tenants_claim_is_nobodys(consumer: Consumer, query: Query) -> None:
    consumer.consume([batch([event(9, project=project(9, "99/", "own/x"))], OTHER_STEWARD)])
    consumer.consume([batch([event(8, project=project(555, "27/28/", "victim-org/app"))], STEWARD)])
    assert place_of(query, "project", 555) == ("27/28/", "victim-org/app")
    consumer.consume([batch([event(1, project=project(9, "99/", "victim-org/app"))], OTHER_STEWARD)])
    assert [place_of(query, "project", one) for one in (555, 9)] == [("27/28/", None), ("99/", None)]
    consumer.consume([batch([event(9, project=project(555, "27/28/", "victim-org/app"))], None)])
    assert [place_of(query, "project", one) for one in (555, 9)] == [("27/28/", "victim-org/app"), ("99/", None)]


def test_a_claim_that_can_not_prevail_does_not_make_later_batches_wait(consumer: Consumer, query: Query) -> None:
    stated = [event(9, project=project(5, "27/", "app"), namespace={"path": "27/28/"})]
    consumer.consume([batch(stated, None)])
    consumer.consume([batch([event(1, project=project(5, "99/", "x"), namespace={"path": "99/28/"})], OTHER_STEWARD)])
    before = query("SELECT * FROM directory_version")
    consumer.consume([batch([event(0, project=project(5, "27/", "app"), namespace={"path": "27/28/"})], None)])
    assert query("SELECT * FROM directory_version") == before
    assert place_of(query, "project", 5) == ("27/", "app")


def test_what_a_batch_restates_counts_with_its_new_time_against_what_it_changes(
    consumer: Consumer, query: Query
) -> None:
    def name(days_ago: float, path: str, username: str) -> dict[str, Any]:
        return event(days_ago, user={"id": 1, "username": username}, user_id=None, namespace_path=path)

    consumer.consume([batch([event(9, project=project(5, "27/", "one"))], None)])
    changes = [event(1, project=project(6, "27/", "one")), event(0, project=project(5, "27/", "one"))]
    consumer.consume([batch(changes, None)])
    assert place_of(query, "project", 5) == ("27/", "one")
    consumer.consume([batch([name(9, "27/", "a"), name(9, "3/", "a")], None)])
    consumer.consume([batch([name(1, "27/", "b"), name(0, "3/", "a")], None)])
    consumer.database.run(fold_restated)
    assert query("SELECT username FROM users WHERE id = 1") == [{"username": "a"}]


def test_an_event_with_a_namespace_that_is_known_goes_to_no_claimant_of_its_project(
    consumer: Consumer, query: Query
) -> None:
    consumer.consume([batch([event(9, namespace={"path": "27/28/"})], None)])
    consumer.consume([batch([event(8, project=project(555, "99/"))], OTHER_STEWARD)])
    consumer.consume([batch([event(user_id=555, project_id=555, namespace_id=28)], None)])
    assert paths_of(query) == ["27/28/"]


def test_a_late_event_puts_nothing_back(consumer: Consumer, query: Query) -> None:
    def say(days_ago: float, path: str, full_path: str, name: str) -> dict[str, Any]:
        return event(
            days_ago,
            user={"id": 5, "username": name},
            namespace={"path": path, "full_path": full_path},
            project=project(4, None, f"{full_path}/project"),
        )

    consumer.consume([batch([say(1, "27/28/", "new", "after")], None)])
    consumer.consume([batch([say(40, "3/28/", "old", "before")], None)])
    assert place_of(query, "namespace", 28) == ("27/28/", "new")
    assert place_of(query, "project", 4) == ("27/28/", "new/project")
    assert query("SELECT username FROM users") == [{"username": "after"}]
    consumer.consume([batch([event(user_id=555, project_id=4), event(user_id=555, namespace_id=28)], None)])
    assert paths_of(query) == ["27/28/", "27/28/"]


def test_a_statement_that_was_made_again_counts_with_its_newest_time(consumer: Consumer, query: Query) -> None:
    for days_ago, name in ((9, "a"), (3, "a"), (5, "b")):
        said = event(days_ago, user={"id": 5, "username": name}, namespace={"path": "1/", "full_path": name})
        consumer.consume([batch([said], None)])
    assert query("SELECT username FROM users") == [{"username": "a"}]
    assert place_of(query, "namespace", 1) == ("1/", "a")


def test_full_paths_are_swapped_and_given_back(consumer: Consumer, query: Query) -> None:
    def say(days_ago: float, first: str, second: str) -> None:
        places = [{"path": "1/", "full_path": first}, {"path": "2/", "full_path": second}]
        consumer.consume([batch([event(days_ago, namespace=place) for place in places], None)])

    say(9, "a", "b")
    say(8, "b", "a")
    assert [row["full_path"] for row in query(PLACES)] == ["b", "a"]
    consumer.consume([batch([event(7, namespace={"path": "1/", "full_path": "a"})], None)])
    assert [row["full_path"] for row in query(PLACES)] == ["a", None]
    consumer.consume([batch([event(6, namespace={"path": "1/", "full_path": "c"})], None)])
    assert [row["full_path"] for row in query(PLACES)] == ["c", "a"]


def test_facts_of_before_stay_until_the_first_authoritative_sender_says_something(
    consumer: Consumer, query: Query, connection: psycopg.Connection
) -> None:
    connection.execute("INSERT INTO namespaces VALUES (28, '27/28/', 'old')")
    connection.execute("INSERT INTO projects VALUES (4, '27/28/', 'old/project')")
    connection.execute("INSERT INTO users (id, username) VALUES (5, 'old')")
    consumer.consume([batch([event(user_id=555, project_id=4)], None)])
    assert paths_of(query) == ["27/28/"]
    said = event(80, user={"id": 5, "username": "new"}, namespace={"path": "3/28/"}, project=project(4, "3/4/"))
    consumer.consume([batch([said], None)])
    assert (place_of(query, "namespace", 28), place_of(query, "project", 4)) == (
        ("3/28/", "old"),
        ("3/4/", "old/project"),
    )
    assert query("SELECT username FROM users WHERE id = 5") == [{"username": "new"}]


def test_what_a_batch_states_again_is_written_as_one_row_and_then_into_the_facts(
    consumer: Consumer, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "MAX_RESTATED_BATCHES", 4)
    for days_ago in (9, 8, 7, 6, 5):
        said = event(days_ago, user={"id": 5, "username": "root"}, namespace={"path": "27/28/", "full_path": "own"})
        consumer.consume([batch([said] * 20, None)])
        if days_ago == 7:
            assert query("SELECT count(*) FROM restated_facts") == [{"count": 2}]
            assert times_of(query) == {NOW - timedelta(days=9)}
    consumer.consume([batch([said], None)])
    assert query("SELECT count(*) FROM restated_facts") == [{"count": 0}]
    assert times_of(query) == {NOW - timedelta(days=5)}


def test_what_large_batches_state_again_is_written_into_the_facts_before_it_is_many(
    consumer: Consumer, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "MAX_RESTATED_BYTES", 10_000)
    names = [{"user": {"id": number, "username": "root"}, "user_id": None} for number in range(1, 1_001)]
    for days_ago in (9, 8):
        consumer.consume([batch([event(days_ago, **name) for name in names], None)])
    assert query("SELECT count(*) FROM restated_facts") == [{"count": 0}]
    assert times_of(query) == {NOW - timedelta(days=8)}


def test_a_batch_is_stored_even_if_folding_restated_facts_fails(
    consumer: Consumer, query: Query, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "MAX_RESTATED_BATCHES", 0)
    said = {"user": {"id": 5, "username": "root"}, "user_id": None}
    for days_ago in (10, 9):
        consumer.consume([batch([event(days_ago, **said)], None)])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("""
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
            CREATE TRIGGER refuse BEFORE DELETE ON restated_facts FOR EACH ROW EXECUTE FUNCTION refuse();
        """)
    outcome = consumer.consume([batch([event(8, **said)], None)])
    assert (outcome.stored, outcome.rejected) == (1, [])
    assert query("SELECT count(*) FROM rejected_events") == [{"count": 0}]


SENDERS: list[Grant | None] = [None, EVERYWHERE, STEWARD, OTHER_STEWARD, TENANT]
PATHS = ["27/1/", "27/2/1/", "99/1/", "99/3/1/", "5/1/", "99/2/", "27/2/"]
NAMES = ["a", "b", "c"]


@st.composite
def said_events(draw: st.DrawFn) -> tuple[dict[str, Any], Grant | None]:
    """Draws an event with facts about few namespaces, projects and users, and its sender."""
    sender = draw(st.sampled_from(SENDERS))
    path, name = draw(st.sampled_from(PATHS)), draw(st.sampled_from(NAMES))
    attributes: dict[str, Any] = {"user": {"id": draw(st.integers(1, 2)), "username": name}, "user_id": None}
    is_placed_by_itself = False
    if draw(st.booleans()):
        attributes["namespace"] = {"path": path} | ({"full_path": name} if draw(st.booleans()) else {})
        is_placed_by_itself = True
    if draw(st.booleans()):
        place = draw(st.sampled_from([None, *PATHS]))
        attributes["project"] = project(draw(st.integers(1, 3)), place, draw(st.sampled_from([None, *NAMES])))
        is_placed_by_itself = is_placed_by_itself or place is not None
    if not is_placed_by_itself:  # where it belongs, and so who may see the name, is what was known when it came
        del attributes["user"]["username"]
    return event(draw(st.integers(0, 6)), **attributes), sender


@pytest.fixture
def consumers(database_url: str) -> Iterator[list[Consumer]]:
    """Two consumers that don't share what they know of the directory."""
    loaded = registry.load()
    consumers = [Consumer(Database(database_url, TimeLimits(30, 30)), loaded, 3) for _ in range(2)]
    yield consumers
    for consumer in consumers:
        consumer.database.close()


def told(consumers: Sequence[Consumer], batches: Sequence[Sequence[Batch]], query: Query) -> Any:
    """Consumes the batches on an empty directory, some at the same time, and returns the directory's content."""
    consumers[0].database.run(forget_everything)
    for consumer in consumers:
        consumer.known.forget()
    for number, together in enumerate(batches):
        consumers[number % 2].consume(together)
    consumers[0].database.run(fold_restated)
    return query(PLACES), query(NAMED), query(FACTS)


def forget_everything(connection: Connection) -> None:
    for table in ("ai_usage_events", "namespaces", "projects", "users", "facts", "user_names", "restated_facts"):
        connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(said=st.lists(said_events(), min_size=2, max_size=7), chance=st.randoms(use_true_random=False))
def test_every_order_of_the_same_events_gives_the_same_directory(
    consumers: list[Consumer], query: Query, said: list[tuple[dict[str, Any], Grant | None]], chance: Any
) -> None:
    batches = [batch([one], sender, NOW - timedelta(minutes=number)) for number, (one, sender) in enumerate(said)]
    first = told(consumers, [[one] for one in batches], query)
    again = [*batches, *chance.sample(batches, chance.randint(0, len(batches)))]  # delivered again
    chance.shuffle(again)
    cuts = sorted({0, len(again), *(chance.randint(0, len(again)) for _ in range(chance.randint(0, len(again))))})
    assert told(consumers, [again[begin:end] for begin, end in pairwise(cuts)], query) == first
    names = [(path_of(one), is_unlimited(sender), one) for one, sender in said if counts(one, sender)]
    assert {row["id"]: row["username"] for row in first[1]} == {
        user: max((unlimited, *told_name(one)) for _, unlimited, one in names if one["user"]["id"] == user)[-1]
        for user in {one["user"]["id"] for _, _, one in names}
    }
    for granted in ("27/", "27/2/", "99/", "5/1/"):
        readable = [one for path, _, one in names if path.startswith(granted)]
        assert names_shown(consumers[0].database, granted) == {
            user: max(told_name(one) for one in readable if one["user"]["id"] == user)[-1]
            for user in {one["user"]["id"] for one in readable}
        }


def counts(one: dict[str, Any], sender: Grant | None) -> bool:
    """Whether the user's name in the event counts."""
    if "username" not in one["user"]:
        return False
    return sender is None or (sender.is_authoritative and sender.covers(path_of(one)))


def is_unlimited(sender: Grant | None) -> bool:
    return sender is None or sender.is_everywhere


def path_of(one: dict[str, Any]) -> str:
    return str(one.get("namespace", {}).get("path") or one["project"]["namespace"]["path"])


def told_name(one: dict[str, Any]) -> tuple[str, str]:
    """Returns the time of a statement about a name, and the name."""
    return one["timestamp"], one["user"]["username"]


def names_shown(database: Database, *granted: str) -> dict[int, str]:
    """Returns the names that readers of these namespaces see."""
    return PostgresDirectory(database, Grant("9", ("events:read",), granted)).usernames(range(1, 100))


def test_readers_of_everything_see_a_limited_senders_name_only_without_another(
    consumer: Consumer,
) -> None:
    def say(days_ago: float, name: str, path: str, sender: Grant | None) -> dict[int, str]:
        said = event(days_ago, user={"id": 1, "username": name}, user_id=None, namespace_path=path)
        consumer.consume([batch([said], sender)])
        return names_shown(consumer.database, "*")

    assert say(5, "a", "27/", STEWARD) == {1: "a"}
    assert say(4, "b", "99/", OTHER_STEWARD) == {1: "b"}
    assert say(9, "c", "3/", None) == {1: "c"}
    assert say(3, "d", "27/", STEWARD) == {1: "c"}
    assert names_shown(consumer.database, "27/") == {1: "d"}
    assert say(2, "e", "27/", None) == {1: "e"}
    assert say(1, "d", "27/", STEWARD) == {1: "e"}
    assert [names_shown(consumer.database, path) for path in ("27/", "99/", "3/")] == [{1: "d"}, {1: "b"}, {1: "c"}]
    for days_ago in (0.4, 0.2):
        assert say(days_ago, "e", "27/", None) == {1: "e"} == names_shown(consumer.database, "27/")
        assert say(days_ago - 0.1, "d", "27/", STEWARD) == {1: "e"}
        assert names_shown(consumer.database, "27/") == {1: "d"}
    assert say(9, "f", "4/", None) == say(8, "f", "27/", None) == {1: "e"}


@pytest.mark.parametrize("is_known", [False, True])
def test_names_of_limited_and_unlimited_senders_in_one_batch_are_kept_apart(
    consumers: list[Consumer], query: Query, is_known: bool
) -> None:
    place = {"path": "27/2/1/"}
    stated = [
        batch([event(user={"id": 2, "username": "a"}, user_id=None, namespace=place)], None),
        batch([event(user={"id": 2, "username": "b"}, user_id=None, namespace=place)], STEWARD),
    ]
    for together in (stated, stated[::-1]):
        told(consumers, [stated[:1], together] if is_known else [together], query)
        assert query("SELECT username, unlimited_username FROM user_names") == [
            {"username": "b", "unlimited_username": "a"}
        ]


def test_batches_that_change_and_restate_facts_at_once_agree_on_the_newest(
    database_url: str, consumers: list[Consumer], query: Query
) -> None:
    users, batches = range(1, 30), 40

    def say(number: int) -> list[dict[str, Any]]:
        chance = Random(number)
        return [
            event(
                chance.randint(0, 50),
                user={"id": user, "username": f"name {chance.randint(1, 2)}"},
                user_id=None,
                namespace={"path": f"{user % 3 + 1}/", "full_path": f"group {chance.randint(1, 3)}"},
                project=project(user, None, f"project {chance.randint(1, 30)}"),
            )
            for user in chance.sample(users, 20)
        ]

    def consume(numbers: range) -> None:
        consumer = Consumer(Database(database_url, TimeLimits(60, 60)), registry.load(), 3)
        for number in numbers:
            consumer.consume([batch(say(number), None)])
        consumer.database.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(consume, [range(first, batches, 4) for first in range(4)]))
    newest = {
        user: max(
            (one["timestamp"], one["user"]["username"])
            for number in range(batches)
            for one in say(number)
            if one["user"]["id"] == user
        )[1]
        for user in users
    }
    assert {row["id"]: row["username"] for row in query("SELECT id, username FROM users")} == newest
    concurrently = query(PLACES)
    alone = told(consumers, [[batch(say(number), None)] for number in range(batches)], query)
    assert alone[0] == concurrently


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_batch_that_finds_a_name_of_another_consumer_writes_all_of_its_own(
    name: str, database_url: str, consumer: Consumer, query: Query
) -> None:
    def say(days_ago: float, names: dict[int, str]) -> list[dict[str, Any]]:
        return [
            event(days_ago, user={"id": user, "username": name}, user_id=None, namespace_path="27/")
            for user, name in names.items()
        ]

    consumer.consume([batch(say(9, {1: "first"}), None)])
    other = Consumer(Database(database_url, TimeLimits(30, 30)), registry.load(), 3)
    other.consume([batch(say(8, {2: "x"}), None)])
    consumer.consume([batch(say(7, {2: name, 3: "z"}), None)])
    other.database.close()
    names = query("SELECT user_id, username FROM user_names ORDER BY user_id")
    assert [(row["user_id"], row["username"]) for row in names] == [(1, "first"), (2, name), (3, "z")]
    assert [row["username"] for row in query("SELECT username FROM users ORDER BY id")] == ["first", name, "z"]


def test_the_newest_name_is_right_after_another_consumer_changed_it(
    database_url: str, consumer: Consumer, query: Query
) -> None:
    def say(days_ago: float, name: str, path: str) -> Batch:
        return batch([event(days_ago, user={"id": 1, "username": name}, user_id=None, namespace_path=path)], None)

    other = Consumer(Database(database_url, TimeLimits(30, 30)), registry.load(), 3)
    for days_ago, path in ((9, "3/"), (8, "27/")):
        consumer.consume([say(days_ago, "a", path)])
    other.consume([say(7, "b", "27/")])
    other.database.close()
    assert query("SELECT username FROM users") == [{"username": "b"}]
    consumer.consume([say(6, "a", "3/")])
    assert query("SELECT username FROM users") == [{"username": "a"}]


def test_a_batch_that_renames_a_user_in_a_new_namespace_also_writes_its_other_users(
    consumer: Consumer, query: Query
) -> None:
    def say(days_ago: float, user: int, name: str | None, path: str) -> dict[str, Any]:
        return event(days_ago, user={"id": user, "username": name}, user_id=None, namespace_path=path)

    consumer.consume([batch([say(9, 1, "first", "27/")], None)])
    consumer.consume([batch([say(5, 1, "new", "3/"), say(5, 2, "other", "3/"), say(5, 3, None, "3/")], None)])
    day = (NOW - timedelta(days=5)).date()
    assert query("SELECT id, username, last_activity_on FROM users ORDER BY id") == [
        {"id": 1, "username": "new", "last_activity_on": day},
        {"id": 2, "username": "other", "last_activity_on": day},
        {"id": 3, "username": None, "last_activity_on": day},
    ]
