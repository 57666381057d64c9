"""What was stored before a namespace or project moved is found where it is now."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event as Signal
from typing import Any

import psycopg
import pytest

from functions.graphql.handler import GraphqlHandler
from functions.ingest.directory.fact_writer import FactWriter
from functions.ingest.pipeline import Consumer
from functions.shared.catalog import registry
from functions.shared.grant import Grant
from functions.shared.postgres import Database, TimeLimits
from functions.sync import moves, names
from functions.sync.handler import build
from functions.sync.moves import Mover, MoveReport
from infra.migrations.migrate import migrate
from tests.functional.test_directory import OTHER_STEWARD, STEWARD, TENANT, batch, event, place_of, project
from tests.support.accounts import Query
from tests.support.clock import NOW
from tests.support.graphql import ask
from tests.support.lambda_context import FakeContext

AS_BEFORE_MOVES = """
    DROP TABLE erasures, exports, rollup_days, rollup_changes;
    ALTER TABLE directory_version DROP COLUMN rows_removed_in;
    DROP TABLE namespace_moves_in_clickhouse, namespace_moves;
    DROP INDEX facts_path, projects_namespace_path, user_names_namespace_path;
    DROP TABLE put_back_from, reprocessings, refilled_months, refills, directory_origin, tenant_usage, migration_steps;
    DROP FUNCTION make_event_partition, give_replica_identity;
    ALTER TABLE sync_state DROP COLUMN mark, DROP COLUMN server;
    ALTER TABLE rejected_events DROP COLUMN request_id;
    UPDATE alembic_version SET version_num = '0008';
    INSERT INTO facts (kind, id, attribute, value, stated_at) VALUES
        ('namespace', 28, 'path', '27/28/', now() - interval '9 days'),
        ('namespace', 27, 'ancestor_path', '27/', now() - interval '9 days');
    INSERT INTO namespaces VALUES (28, '27/28/', NULL);
"""
COUNT = "query($path: ID!) { namespace(fullPath: $path) { aiUsageData { all(first: 100) { count } } } }"
PATHS = "SELECT user_id, namespace_path FROM ai_usage_events ORDER BY user_id"
NAMES = "SELECT user_id, namespace_path, username FROM user_names ORDER BY user_id, namespace_path"
MOVES = "SELECT kind, id, old_path, new_path, done_at IS NOT NULL AS is_done FROM namespace_moves ORDER BY number"


@pytest.fixture
def consumers(database_url: str) -> Iterator[list[Consumer]]:
    loaded = registry.load()
    consumers = [Consumer(Database(database_url, TimeLimits(30, 30)), loaded, 3) for _ in range(2)]
    yield consumers
    for consumer in consumers:
        consumer.database.close()


@pytest.fixture
def consumer(consumers: list[Consumer]) -> Consumer:
    return consumers[0]


@pytest.fixture
def move(database_url: str) -> Callable[[], MoveReport]:
    """Runs the mover to its end."""
    return lambda: Mover(database_url).run(60)


type Move = Callable[[], MoveReport]


def paths(query: Query) -> dict[int, str | None]:
    """The namespace path of each event, by its user."""
    return {row["user_id"]: row["namespace_path"] for row in query(PATHS)}


def at(path: str, user: int, days_ago: float = 1, full_path: str | None = None) -> dict[str, Any]:
    place = {"path": path} | ({"full_path": full_path} if full_path else {})
    return event(days_ago, user_id=user, namespace=place)


def say(consumer: Consumer, *events: dict[str, Any], grant: Grant | None = None) -> Any:
    return consumer.consume([batch(events, grant)])


def count(api: GraphqlHandler, path: str, *granted: str) -> int | None:
    namespace = ask(api, COUNT, *granted, path=path)["namespace"]
    return namespace and int(namespace["aiUsageData"]["all"]["count"])


def test_the_history_of_a_moved_namespace_is_found_under_its_new_parent(
    consumer: Consumer, move: Move, api: GraphqlHandler
) -> None:
    say(consumer, *(at("27/28/", user, 3, "acme/team") for user in range(1, 4)), at("27/", 9, 3, "acme"))
    say(consumer, at("31/28/", 5, 1, "bigcorp/team"), at("31/", 8, 3, "bigcorp"))
    move()
    counts = {path: count(api, path) for path in ("bigcorp/team", "acme/team", "acme", "bigcorp", "27/", "31/28/")}
    assert counts == {"bigcorp/team": 4, "acme/team": None, "acme": 1, "bigcorp": 5, "27/": 1, "31/28/": 4}
    assert (count(api, "27/28/", "27/"), count(api, "31/28/", "31/"), count(api, "27/", "27/")) == (0, 4, 1)


def test_what_is_below_a_moved_namespace_moves_with_it(consumer: Consumer, move: Move, query: Query) -> None:
    say(consumer, at("27/28/29/", 1, 5), event(5, user_id=2, project=project(4, "27/28/")), at("27/28/", 3, 5))
    say(consumer, at("27/28/77/", 4, 5), grant=TENANT)
    say(consumer, at("31/28/", 5, 1))
    assert place_of(query, "namespace", 29) == ("31/28/29/", None)
    assert place_of(query, "project", 4) == ("31/28/", None)
    say(consumer, event(user_id=6, namespace_id=29), event(user_id=7, project_id=4))
    assert move().open == 0
    assert paths(query) == {
        1: "31/28/29/",
        2: "31/28/",
        3: "31/28/",
        4: "31/28/77/",
        5: "31/28/",
        6: "31/28/29/",
        7: "31/28/",
    }
    assert [(row["kind"], row["id"]) for row in query(MOVES)] == [("namespace", 28)]


def test_an_ancestor_that_moves_takes_along_what_was_only_stated_below_it(
    consumer: Consumer, move: Move, query: Query
) -> None:
    say(consumer, at("27/28/", 1, 5), at("27/30/", 2, 1))
    say(consumer, at("50/27/", 3, 3))
    move()
    assert [place_of(query, "namespace", number) for number in (27, 28, 30)] == [
        ("50/27/", None),
        ("50/27/28/", None),
        ("27/30/", None),
    ]
    assert paths(query) == {1: "50/27/28/", 2: "27/30/", 3: "50/27/"}


def test_what_moved_with_its_parent_follows_a_move_of_its_own_from_there(
    consumer: Consumer, move: Move, query: Query
) -> None:
    say(consumer, at("1/21/22/23/", 23, 9), event(9, user_id=4, project=project(4, "1/21/22/")))
    say(consumer, at("1/31/21/", 21, 8))
    move()
    assert paths(query) == {21: "1/31/21/", 23: "1/31/21/22/23/", 4: "1/31/21/22/"}
    say(consumer, at("1/31/21/22/", 22, 8), at("1/40/31/", 31, 7))
    say(consumer, at("1/40/23/", 24, 6), event(6, user_id=5, project=project(4, "1/40/")))
    say(consumer, at("1/40/23/22/", 25, 5))
    assert move().open == 0
    assert paths(query) == {
        21: "1/40/31/21/",
        22: "1/40/23/22/",
        25: "1/40/23/22/",
        23: "1/40/23/",
        24: "1/40/23/",
        31: "1/40/31/",
        4: "1/40/",
        5: "1/40/",
    }


def test_a_moved_project_takes_its_own_events_along_only(consumer: Consumer, move: Move, query: Query) -> None:
    say(consumer, *(event(5, user_id=user, project=project(user, "27/28/")) for user in (1, 2)))
    say(consumer, event(5, user_id=3, project_id=1), at("27/28/", 4, 5))
    say(consumer, event(1, user_id=5, project=project(1, "31/30/")))
    move()
    assert paths(query) == {1: "31/30/", 2: "27/28/", 3: "31/30/", 4: "27/28/", 5: "31/30/"}


def test_a_late_event_with_the_old_path_follows_the_move(consumer: Consumer, move: Move, query: Query) -> None:
    say(consumer, at("31/28/", 1, 1))
    say(consumer, at("27/28/", 2, 5))  # the first that says that the namespace was there
    move()
    say(consumer, at("27/28/", 3, 4), at("27/28/29/", 4, 4), event(4, user_id=5, namespace_path="27/28/"))
    assert paths(query) == {1: "31/28/", 2: "31/28/", 3: "31/28/", 4: "31/28/29/", 5: "31/28/"}
    say(consumer, event(5, user_id=6, project=project(4, "27/28/")))
    say(consumer, event(2, user_id=7, project=project(4, "27/30/")))
    move()
    say(consumer, event(3, user_id=8, project=project(4, "27/28/")))
    assert {user: path for user, path in paths(query).items() if user > 5} == dict.fromkeys((6, 7, 8), "27/30/")


def test_a_late_event_follows_its_project_to_a_namespace_that_moved(consumers: list[Consumer], query: Query) -> None:
    say(
        consumers[0], event(9, project=project(4, "27/28/")), event(5, project=project(4, "31/30/")), at("40/31/", 1, 4)
    )
    say(consumers[1], event(8, user_id=2, project=project(4, "27/28/")))
    assert paths(query)[2] == "40/31/30/"


def test_a_late_event_follows_what_its_consumer_knew_and_others_changed_since(
    consumers: list[Consumer], query: Query
) -> None:
    say(consumers[0], at("2/", 1, 50), at("4/2/1/6/", 2, 51), at("6/1/", 3, 58))
    say(consumers[1], at("2/1/", 4, 54))
    say(consumers[1], at("6/", 5, 57))
    assert paths(query)[5] == "2/1/6/"


def test_a_move_and_the_move_back_leave_every_event_where_it_belongs(
    consumer: Consumer, move: Move, query: Query
) -> None:
    for days_ago, path in ((9, "27/28/"), (7, "31/28/"), (5, "40/28/"), (3, "27/28/")):
        say(consumer, at(path, int(days_ago), days_ago), at(f"{path}29/", int(days_ago) + 1, days_ago))
        if days_ago == 5:
            move()
    assert move().open == 0
    places = paths(query)
    assert {places[user] for user in (3, 5, 7, 9)} == {"27/28/"}
    assert {places[user] for user in (4, 6, 8, 10)} == {"27/28/29/"}


def test_a_limited_senders_late_event_is_rejected_if_its_namespace_left_the_grant(
    consumer: Consumer, move: Move, query: Query
) -> None:
    say(consumer, at("27/28/", 1, 9))
    say(consumer, at("31/28/", 1, 3))
    outcome = say(consumer, at("27/28/", 5, 5), at("27/28/", 5, 1), at("27/30/", 5, 5), grant=TENANT)
    assert [(row.code, row.message) for row in outcome.rejected] == [
        ("forbidden_namespace", "The namespace '27/28/' moved to where the token does not cover it.")
    ]
    kept = query("SELECT namespace_path FROM ai_usage_events WHERE user_id = 5 ORDER BY namespace_path")
    assert [row["namespace_path"] for row in kept] == ["27/28/", "27/30/"]
    say(consumer, at("27/28/", 6, 5), grant=Grant("6", ("events:write",), ("27/", "31/")))
    assert paths(query)[6] == "31/28/"


def test_a_limited_senders_newer_event_stays_though_the_move_is_repeated(
    consumer: Consumer, move: Move, query: Query
) -> None:
    say(consumer, at("27/28/", 1, 9))
    say(consumer, at("31/28/", 2, 5))
    say(consumer, at("27/28/", 3, 1), grant=TENANT)
    name = {"user": {"id": 4, "username": "late"}, "user_id": None}
    say(consumer, at("27/28/", 4, 7) | name)
    assert query("SELECT done_at FROM namespace_moves") == [{"done_at": None}]
    assert move().open == 0
    assert paths(query) == {1: "31/28/", 2: "31/28/", 3: "27/28/", 4: "31/28/"}
    assert [row["namespace_path"] for row in query(NAMES)] == ["31/28/"]


def test_facts_of_a_limited_steward_redirect_no_explicit_path(consumer: Consumer, move: Move, query: Query) -> None:
    say(consumer, at("99/28/", 1, 1), grant=OTHER_STEWARD)
    say(consumer, at("27/28/", 2, 5), grant=TENANT)
    move()
    assert paths(query) == {1: "99/28/", 2: "27/28/"}
    say(consumer, at("27/28/", 3, 9))
    move()
    assert place_of(query, "namespace", 28) == ("27/28/", None)
    assert paths(query) == {1: "99/28/", 2: "27/28/", 3: "27/28/"}  # what others made up is not moved to the tenant


def test_a_steward_moves_history_within_its_namespaces_only(consumer: Consumer, move: Move, query: Query) -> None:
    say(consumer, at("27/28/", 1, 9), at("40/41/", 2, 9))
    say(consumer, at("27/30/28/", 3, 5), at("27/41/", 4, 5), grant=STEWARD)
    move()
    assert paths(query) == {1: "27/30/28/", 2: "40/41/", 3: "27/30/28/", 4: "27/41/"}
    say(consumer, at("50/27/", 5, 3))
    say(consumer, at("27/28/", 6, 1), grant=STEWARD)  # the steward's own namespaces moved away meanwhile
    move()
    assert place_of(query, "namespace", 28) == ("50/27/28/", None)
    assert paths(query)[1] == "50/27/28/"


def test_names_follow_the_namespace_in_which_they_were_stated(consumer: Consumer, move: Move, query: Query) -> None:
    def name(path: str, user: int, name: str, days_ago: float) -> dict[str, Any]:
        return event(days_ago, user={"id": user, "username": name}, user_id=None, namespace={"path": path})

    say(consumer, name("27/28/", 1, "old", 9), name("27/28/", 2, "newest", 2), name("27/", 1, "parent", 9))
    say(consumer, name("31/28/", 1, "new", 1), name("31/28/", 2, "older", 5))
    move()
    say(consumer, name("27/28/", 3, "late", 4))
    move()
    assert [tuple(row.values()) for row in query(NAMES)] == [
        (1, "27/", "parent"),
        (1, "31/28/", "new"),
        (2, "31/28/", "newest"),
        (3, "31/28/", "late"),
    ]
    say(consumer, name("31/28/", 2, "again", 0.5))
    assert query("SELECT username FROM users WHERE id = 2") == [{"username": "again"}]


def test_events_that_are_committed_after_the_move_was_done_move_too(
    consumers: list[Consumer], move: Move, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, other = consumers
    say(slow, at("27/28/", 1, 9))
    placed, moved = Signal(), Signal()
    write = FactWriter.write

    def write_late(writer: FactWriter, connection: psycopg.Connection) -> None:
        if not placed.is_set():
            placed.set()
            assert moved.wait(30)
        write(writer, connection)

    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(FactWriter, "write", write_late)
        late = pool.submit(say, slow, at("27/28/", 2, 5), event(5, user_id=3, namespace_id=28))
        assert placed.wait(30)
        say(other, at("31/28/", 4, 1))
        assert move().open == 0
        moved.set()
        late.result()
    assert paths(query) == {1: "31/28/", 2: "27/28/", 3: "27/28/", 4: "31/28/"}
    assert [row["is_done"] for row in query(MOVES)] == [False]
    assert move().open == 0
    assert set(paths(query).values()) == {"31/28/"}


def test_a_move_that_is_stopped_is_continued(
    consumer: Consumer, database_url: str, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "ROWS_AT_ONCE", 3)
    say(consumer, *(at("27/28/", user, 9) for user in range(1, 11)))
    say(consumer, at("31/28/", 11, 1))

    class Stopped(Exception):
        pass

    def stop(_: MoveReport) -> None:
        raise Stopped

    for expected in (3, 6, 9):
        with pytest.raises(Stopped):
            Mover(database_url, progress=stop).run(60)
        assert list(paths(query).values()).count("31/28/") == expected + 1
    assert Mover(database_url).run(0).open == 1
    assert Mover(database_url).run(60).open == 0
    assert set(paths(query).values()) == {"31/28/"}
    assert query("SELECT progress FROM namespace_moves") == [{"progress": 10}]


def test_the_sync_function_moves_events_without_clickhouse_too(
    consumer: Consumer, database_url: str, query: Query
) -> None:
    say(consumer, at("27/28/", 1, 9))
    say(consumer, at("31/28/", 2, 1))
    answer = build(database_url=database_url, clickhouse_url=None)({}, FakeContext())
    assert (answer["status"], answer["moved"], answer["open_moves"]) == ("disabled", 1, 0)
    assert paths(query) == {1: "31/28/", 2: "31/28/"}


def test_a_reader_sees_each_event_once_and_in_granted_namespaces_while_it_moves(
    consumer: Consumer, database_url: str, api: GraphqlHandler, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "ROWS_AT_ONCE", 10)
    for first in range(0, 400, 100):
        say(consumer, *(at("27/28/", user, 3) for user in range(first + 1, first + 101)))
    say(consumer, at("31/28/", 1_000, 1))
    seen: list[tuple[int | None, ...]] = []

    def read(_: MoveReport) -> None:
        everything = [identifier for path in ("27/", "31/") for identifier in pages(api, path)]
        assert len(everything) == len(set(everything)) == 401
        seen.append((count(api, "27/", "27/"), count(api, "31/", "31/"), count(api, "31/", "27/")))

    assert Mover(database_url, progress=read).run(600).open == 0
    assert len(seen) == 40
    assert seen == [(400 - moved, moved + 1, None) for moved in range(10, 401, 10)]


def pages(api: GraphqlHandler, path: str) -> Iterable[str]:
    """The ids of all events of a namespace, page by page."""
    statement = """
        query($path: ID!, $after: String) {
          namespace(fullPath: $path) { aiUsageData { all(first: 100, after: $after) {
            nodes { id } pageInfo { hasNextPage endCursor }
          } } }
        }
    """
    after = None
    while True:
        answer = ask(api, statement, path=path, after=after)["namespace"]["aiUsageData"]["all"]
        yield from (node["id"] for node in answer["nodes"])
        if not answer["pageInfo"]["hasNextPage"]:
            return
        after = answer["pageInfo"]["endCursor"]


def test_a_fact_that_flaps_costs_a_pass_and_ends_at_the_newest(
    consumers: list[Consumer], move: Move, query: Query
) -> None:
    for number in range(20):
        path = "27/28/" if number % 2 else "31/28/"
        say(consumers[number % 2], at(path, number + 1, 20 - number))
    assert move().open == 0
    assert set(paths(query).values()) == {"27/28/"}
    assert len(query(MOVES)) == 2


def test_ten_thousand_events_move_within_two_minutes(
    consumer: Consumer, move: Move, connection: psycopg.Connection, query: Query
) -> None:
    connection.execute(
        """
        INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, payload)
        SELECT gen_random_uuid(), %s - number * interval '1 minute', 6, 1, '27/28/' || number %% 50 || '/', '{}'
        FROM generate_series(1, 10000) AS numbers (number)
        """,
        [NOW - timedelta(days=2)],
    )
    say(consumer, at("27/28/", 1, 2))
    say(consumer, at("31/28/", 1, 1))
    assert move().events == 10_001
    assert query("SELECT count(*) FROM ai_usage_events WHERE namespace_path < '31/'") == [{"count": 0}]


def test_facts_of_before_the_first_move_was_recorded_make_moves_too(
    consumer: Consumer, move: Move, connection: psycopg.Connection, database_url: str, query: Query
) -> None:
    connection.execute(AS_BEFORE_MOVES)
    migrate(database_url, registry.load(), 3)
    known = query("SELECT id, attribute, scope, value FROM facts WHERE attribute <> 'path' ORDER BY id")
    assert [tuple(row.values()) for row in known] == [
        (27, "known_path", "27/", "27/"),
        (28, "known_path", "27/28/", "27/28/"),
    ]
    say(consumer, event(8, user_id=1, namespace_id=28), at("50/27/", 2, 1))
    assert move().open == 0
    assert paths(query) == {1: "50/27/28/", 2: "50/27/"}


def test_a_large_move_of_one_tenant_does_not_delay_that_of_another(
    consumer: Consumer, query: Query, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "ROWS_AT_ONCE", 3)
    say(consumer, *(at("27/28/", user, 3) for user in range(1, 61)), *(at("9/7/", user, 3) for user in range(61, 64)))
    say(consumer, at("31/28/", 64, 1), at("3/7/", 65, 1))
    left: list[tuple[int, int]] = []

    def note(_: MoveReport) -> None:
        found = list(paths(query).values())
        left.append((found.count("27/28/"), found.count("9/7/")))

    assert Mover(database_url, progress=note).run(60).open == 0
    assert next(large for large, small in left if small == 0) >= 54
    assert left[-1] == (0, 0)


def test_a_move_that_a_lock_holds_up_does_not_delay_that_of_another_tenant(
    consumer: Consumer, query: Query, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "_OPTIONS", moves._OPTIONS.replace("lock_timeout=5s", "lock_timeout=100ms"))
    monkeypatch.setattr(moves, "ROWS_AT_ONCE", 3)
    say(consumer, *(at("27/28/", user, 3) for user in range(1, 7)), *(at("9/7/", user, 3) for user in range(7, 20)))
    say(consumer, at("31/28/", 20, 1), at("3/7/", 21, 1))
    with psycopg.connect(database_url) as other:
        other.execute("SELECT FROM ai_usage_events WHERE namespace_path = '27/28/' FOR UPDATE")
        report = Mover(database_url).run(60)
        assert (report.events, report.open) == (13, 1)
    assert Mover(database_url).run(60).open == 0
    assert {"27/28/", "9/7/"}.isdisjoint(paths(query).values())


def test_many_names_of_one_tenant_do_not_delay_the_move_of_another(
    consumer: Consumer, query: Query, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "NAMES_AT_ONCE", 2)
    say(consumer, *(at("27/7/", one, 3) | {"user": {"id": one, "username": f"name {one}"}} for one in range(1, 21)))
    say(consumer, at("9/28/", 21, 3))
    say(consumer, at("31/7/", 22, 1), at("3/28/", 23, 1))
    left: list[int] = []

    def note(_: MoveReport) -> None:
        if not left and "9/28/" not in paths(query).values():
            left.append(query("SELECT count(*) FROM user_names WHERE namespace_path = '27/7/'")[0]["count"])

    assert Mover(database_url, progress=note).run(60).open == 0
    assert left[0] > 10
    assert query("SELECT count(*) FROM user_names WHERE namespace_path = '27/7/'")[0]["count"] == 0
