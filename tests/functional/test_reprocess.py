"""Transformations run again on stored events: what they make of them, and what they must not destroy."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from functions.ingest.pipeline import Consumer
from functions.shared.catalog import registry as shipped
from functions.shared.catalog.registry import Registry
from functions.shared.postgres import Database, TimeLimits
from functions.sync.sync import Sync
from infra.operations import moves
from infra.operations.reprocess.findings import Findings
from infra.operations.reprocess.judgement import Outcome, Rules
from infra.operations.reprocess.run import Reprocess, undo_saved
from infra.operations.reprocess.saved import Saving, Undone
from infra.operations.reprocess.stored_events import ROWS_AT_ONCE, Selection
from infra.operations.reprocess.transaction import ReprocessError
from tests.functional.test_moves import at, paths, say
from tests.functional.test_sync import LAST_MONTH, SECONDS, in_clickhouse, in_postgres
from tests.support.accounts import Query
from tests.support.checkout import ROOT
from tests.support.clock import NOW
from tests.support.definitions import load_from

ANSWERED, HALVED, TRIMMED, PLAIN, LOOKED_UP = range(200, 205)
DEFINITIONS = """
from definitions import source

during = []

class Answer(Payload):
    language: str | None = None
    seconds: float | None = None
    n: float | None = None
    project_id: int | None = None

feature = Feature("answers", owner="a team", payload=Answer)

@feature.events(answered=200)
def answered(context):
    for change in during:
        change()
    seconds = context["seconds"] if "seconds" in context else context["milliseconds"] / 1000
    return context.slice("language", "project_id") | {"seconds": seconds, "user_id": 9, "timestamp": 0}

@feature.events(halved=201)
def halved(context):
    return {"n": context["n"] / 2}

@feature.events(trimmed=202)
def trimmed(context):
    return context.slice("language")

feature.events_without_payload(plain=203)
feature.deprecated_events(asked=205)

looking = Feature("looking", owner="a team", field="lookedUp")

@looking.prefetch
def users(contexts, connection):
    known = connection.execute("SELECT id, username FROM users").fetchall()
    if not known:
        raise LookupError("nobody")
    return [{"username": dict(known).get(context["user_id"])} for context in contexts]

@looking.events(looked_up=204)
def looked_up(context):
    return {"name": context["username"]}
"""

STORE = """
    INSERT INTO ai_usage_events (id, timestamp, event, user_id, namespace_path, project_id, payload)
    VALUES (%(id)s, %(timestamp)s, %(event)s, %(user_id)s, %(namespace_path)s, %(project_id)s, %(payload)s)
"""
WITH_TRANSACTIONS = "SELECT id, timestamp, xact_id::text, payload::text FROM ai_usage_events ORDER BY id, timestamp"


@pytest.fixture
def defined(folder: Path) -> Registry:
    """The definitions of these tests."""
    return load_from(folder, answers=DEFINITIONS)


def store(connection: psycopg.Connection, number: int, payload: Any, **changes: Any) -> UUID:
    """Stores an event whose id ends with the number."""
    row = {"id": UUID(int=number), "timestamp": NOW, "event": ANSWERED, "user_id": 1, "namespace_path": "27/28/"}
    connection.execute(STORE, row | {"project_id": None, "payload": Jsonb(payload)} | changes)
    return UUID(int=number)


def selection(*events: int, **changes: Any) -> Selection:
    values = {"start": NOW - timedelta(days=90), "end": NOW + timedelta(days=2), "namespace": None} | changes
    return Selection(events or (ANSWERED, HALVED, TRIMMED, PLAIN, LOOKED_UP), **values)


class Applying:
    """Runs that change events, each with a file of its own unless one is named."""

    def __init__(self, database_url: str, registry: Registry, folder: Path) -> None:
        self.database_url, self.registry, self.folder = database_url, registry, folder
        self.files = 0

    def __call__(self, chosen: Selection | None = None, **rules: Any) -> Findings:
        self.files += 1
        self.file = self.folder / f"before-{self.files}.ndjson"
        run = Reprocess(self.database_url, self.registry, rules_of(**rules), wait_seconds=5)
        with closing(Saving(self.file)) as saving:
            _, findings, total = run.apply(chosen or selection(), {"rules": str(rules)}, "a test", saving)
        assert total == findings.counts()
        return findings

    def undo(self, *, apply: bool = True) -> Undone:
        return undo_saved(self.database_url, self.file, "a test", apply=apply)


def rules_of(may_lack: tuple[str, ...] = (), may_drop: tuple[str, ...] = (), once: bool = False) -> Rules:
    return Rules(frozenset(may_lack), frozenset(may_drop), once)


@pytest.fixture
def apply(database_url: str, defined: Registry, tmp_path: Path) -> Applying:
    """Runs the transformations again and writes what they make."""
    return Applying(database_url, defined, tmp_path)


def payloads(connection: psycopg.Connection) -> dict[int, Any]:
    rows = connection.execute("SELECT id, payload FROM ai_usage_events ORDER BY id").fetchall()
    return {identifier.int: payload for identifier, payload in rows}


def during(registry: Registry, *changes: Callable[[], object]) -> None:
    """Runs each change once, when the first event is transformed for the first time."""
    left = list(changes)
    hooks = registry.events["answered"].transformations[0].__globals__["during"]
    hooks.append(lambda: [left.pop()() for _ in list(left)])


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    connection: psycopg.Connection, database_url: str, defined: Registry
) -> None:
    store(connection, 1, {"milliseconds": 1500, "language": "ruby"})
    store(connection, 2, {"seconds": 2.5})
    store(connection, 3, {})
    store(connection, 4, {"milliseconds": 250}, timestamp=LAST_MONTH)
    before = connection.execute(WITH_TRANSACTIONS).fetchall()
    findings = Reprocess(database_url, defined, rules_of(may_lack=("seconds",))).preview(selection())
    assert connection.execute(WITH_TRANSACTIONS).fetchall() == before
    assert findings.outcomes == {Outcome.changed: 2, Outcome.unchanged: 1, Outcome.rejected: 1}
    assert findings.messages == {"transformation_failed": "answered: KeyError: 'milliseconds'"}
    assert (findings.keys["seconds"].added, findings.keys["milliseconds"].removed) == (2, 2)
    (example, _) = findings.keys["seconds"].examples
    assert (example.event_id, example.after) == (str(UUID(int=1)), 1.5)
    assert findings.kept == {"user_id": 3, "timestamp": 3}


def test_what_needs_what_was_not_stored_stays_unless_an_operator_lets_it_go(
    connection: psycopg.Connection, apply: Applying
) -> None:
    store(connection, 1, {"milliseconds": 1500})
    store(connection, 2, {"language": "ruby", "seconds": 1.5}, event=TRIMMED)
    before = payloads(connection)
    findings = apply()
    assert payloads(connection) == before
    assert (findings.missing, findings.lost) == ({"seconds": 1}, {"seconds": 1})
    apply(may_lack=("seconds",), may_drop=("seconds",))
    assert payloads(connection) == {1: {"seconds": 1.5}, 2: {"language": "ruby"}}


def test_a_transformation_that_changes_its_own_result_runs_only_once_and_if_told(
    connection: psycopg.Connection, apply: Applying
) -> None:
    store(connection, 1, {"n": 3}, event=HALVED)
    assert apply().outcomes == {Outcome.unstable: 1}
    assert payloads(connection) == {1: {"n": 3}}
    apply(once=True)
    assert payloads(connection) == {1: {"n": 1.5}}


def test_time_user_and_namespace_stay_and_the_project_follows_the_payload(
    connection: psycopg.Connection, query: Query, apply: Applying
) -> None:
    store(connection, 1, {"seconds": 1, "project_id": 4, "left": 1}, namespace_path=None)
    store(connection, 2, {"seconds": 1, "project_id": 4, "left": 1}, project_id=5)
    apply()
    rows = query("SELECT timestamp, user_id, namespace_path, project_id FROM ai_usage_events ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [(NOW, 1, None, 4), (NOW, 1, "27/28/", 5)]
    assert payloads(connection) == {1: {"seconds": 1, "project_id": 4}, 2: {"seconds": 1, "project_id": 5}}


def test_only_what_is_selected_changes(connection: psycopg.Connection, apply: Applying) -> None:
    chosen: dict[str, Any] = {"payload": {"seconds": 1, "old": 1}}
    others: list[dict[str, Any]] = [
        {"event": TRIMMED},
        {"timestamp": NOW - timedelta(days=2)},
        {"timestamp": NOW},
        {"namespace_path": "2/"},
    ]
    store(connection, 1, **chosen, timestamp=NOW - timedelta(days=1))
    store(connection, 2, **chosen, timestamp=NOW - timedelta(days=1), namespace_path="27/28/29/")
    for number, other in enumerate(others, 3):
        store(connection, number, **chosen, **{"timestamp": NOW - timedelta(days=1)} | other)
    wanted = {"start": NOW - timedelta(days=1), "end": NOW, "namespace": "27/28/"}
    assert apply(selection(ANSWERED, **wanted)).outcomes == {Outcome.changed: 2}
    assert [number for number, payload in payloads(connection).items() if "old" not in payload] == [1, 2]


def test_a_prefetch_reads_for_many_events_at_once_and_its_failure_changes_none(
    connection: psycopg.Connection, apply: Applying
) -> None:
    for number in range(3):
        store(connection, number, {}, event=LOOKED_UP, user_id=number + 1)
    store(connection, 3, {"seconds": 1, "old": 1})
    findings = apply()
    assert findings.rejections == {"prefetch_failed": 3}
    assert payloads(connection) == {0: {}, 1: {}, 2: {}, 3: {"seconds": 1}}
    connection.execute("INSERT INTO users (id, username) VALUES (1, 'ann'), (2, 'bob'), (3, NULL)")
    apply()
    assert payloads(connection) == {0: {"name": "ann"}, 1: {"name": "bob"}, 2: {}, 3: {"seconds": 1}}


def test_an_event_that_changes_meanwhile_is_neither_overwritten_nor_put_back(
    connection: psycopg.Connection, defined: Registry, apply: Applying, query: Query
) -> None:
    for number in range(5):
        store(connection, number, {"seconds": number, "old": 1})
    during(
        defined,
        lambda: connection.execute("UPDATE ai_usage_events SET namespace_path = '9/' WHERE id = %s", [UUID(int=1)]),
        lambda: connection.execute("DELETE FROM ai_usage_events WHERE id = %s", [UUID(int=2)]),
        lambda: connection.execute(
            """UPDATE ai_usage_events SET payload = '{"seconds": 7, "new": 2}' WHERE id = %s""", [UUID(int=3)]
        ),
    )
    findings = apply()
    assert (findings.outcomes, findings.gone) == ({Outcome.changed: 4}, 1)
    rows = query("SELECT namespace_path, payload FROM ai_usage_events ORDER BY id")
    wanted = [("27/28/", 0), ("9/", 1), ("27/28/", 7), ("27/28/", 4)]
    assert [(row["namespace_path"], row["payload"]) for row in rows] == [(path, {"seconds": n}) for path, n in wanted]


def test_events_of_a_namespace_that_has_moved_move_before_they_change(
    connection: psycopg.Connection, database_url: str, query: Query, apply: Applying
) -> None:
    consumer = Consumer(Database(database_url, TimeLimits(30, 30)), shipped.load(), 3)
    with closing(consumer.database):
        say(consumer, *(at("27/28/", user, 5) for user in range(1, 4)))
    connection.execute("""UPDATE ai_usage_events SET event = %s, payload = '{"seconds": 1, "old": 1}'""", [ANSWERED])
    moves.state_move(connection, "27/28/", "31/28/", "a test")
    apply()
    assert set(paths(query).values()) == {"31/28/"}
    assert all(payload == {"seconds": 1} for payload in payloads(connection).values())


def test_two_runs_at_once_are_one_too_many(database_url: str, apply: Applying, defined: Registry) -> None:
    run = Reprocess(database_url, defined, rules_of())
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(4197021)")
        with pytest.raises(ReprocessError, match="another"), closing(Saving(apply.folder / "file")) as saving:
            run.apply(selection(), {}, "a test", saving)


def test_while_a_refill_still_brings_events_none_is_changed_or_judged(
    connection: psycopg.Connection, database_url: str, apply: Applying, defined: Registry, tmp_path: Path
) -> None:
    store(connection, 1, {"seconds": 1, "old": 1})
    connection.execute("INSERT INTO refills (epoch, target, thresholds, last_xact) VALUES (2, '', '{}', 1)")
    with pytest.raises(ReprocessError, match="usage-events refill"):
        apply()
    with pytest.raises(ReprocessError, match="usage-events refill"):
        Reprocess(database_url, defined, rules_of()).preview(selection())
    with pytest.raises(ReprocessError, match="usage-events refill"):
        undo_saved(database_url, tmp_path / "none", "a test", apply=True)
    connection.execute("UPDATE refills SET finished_at = now()")
    assert apply().outcomes[Outcome.changed] == 1


def test_an_undo_leaves_alone_what_changed_since(connection: psycopg.Connection, apply: Applying) -> None:
    for number in range(4):
        store(connection, number, {"seconds": number, "old": 10**19 + 1})
    before = payloads(connection)
    apply()
    connection.execute("""UPDATE ai_usage_events SET payload = '{"by": "hand"}' WHERE id = %s""", [UUID(int=1)])
    connection.execute("DELETE FROM ai_usage_events WHERE id = %s", [UUID(int=2)])
    present = payloads(connection)
    assert apply.undo(apply=False) == Undone(2, 0, 2)
    assert payloads(connection) == present
    assert apply.undo() == Undone(2, 0, 2)
    assert payloads(connection) == {0: before[0], 1: {"by": "hand"}, 3: before[3]}
    assert apply.undo() == Undone(0, 2, 2)


# -- Against a plain model ---------------------------------------------------------------------------------------------

values = st.sampled_from([0, 1, 2.5, 3000, 10**15])
stored = st.fixed_dictionaries(
    {"event": st.sampled_from([ANSWERED, HALVED, TRIMMED, PLAIN])},
    optional={
        "seconds": values,
        "milliseconds": values,
        "n": values,
        "language": st.sampled_from(["ruby", "c"]),
        "more": st.sampled_from([{"a": [1, None]}, "text", 7]),
    },
)
rules = st.fixed_dictionaries(
    {
        "may_lack": st.sampled_from([(), ("seconds",)]),
        "may_drop": st.sampled_from([(), ("seconds", "n"), ("seconds", "n", "language")]),
        "once": st.booleans(),
    }
)


def made(event: int, payload: dict[str, Any]) -> tuple[dict[str, Any] | None, set[str]]:
    """What a transformation makes, and the keys that it looks for in vain; None if it raises."""
    language = {"language": payload["language"]} if "language" in payload else {}
    if event == ANSWERED:
        if "seconds" in payload:
            return language | {"seconds": payload["seconds"]}, set()
        return (
            (language | {"seconds": payload["milliseconds"] / 1000}, {"seconds"})
            if "milliseconds" in payload
            else (None, set())
        )
    if event == HALVED:
        return ({"n": payload["n"] / 2}, set()) if "n" in payload else (None, set())
    return (language if event == TRIMMED else {}), set()


def expected(event: int, payload: dict[str, Any], rules: dict[str, Any]) -> dict[str, Any]:
    """The payload after a run."""
    after, missing = made(event, payload)
    declared = set() if event == PLAIN else {"language", "seconds", "n"} & payload.keys()
    if after is None or missing - set(rules["may_lack"]) or declared - after.keys() - set(rules["may_drop"]):
        return payload
    is_stable = event != HALVED or after["n"] == 0
    return after if is_stable or rules["once"] else payload


@pytest.fixture
def clear(connection: psycopg.Connection, client: Client) -> Callable[[], None]:
    """Empties both stores, for each example."""

    def clear() -> None:
        connection.execute("TRUNCATE ai_usage_events, removed_keys, sync_state")
        client.command("TRUNCATE TABLE IF EXISTS ai_usage_events")

    return clear


@settings(
    max_examples=200 if os.environ.get("SOAK") else 10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(stored, min_size=1, max_size=12), rules)
def test_both_stores_hold_what_a_plain_model_makes_and_an_undo_brings_all_back(
    clear: Callable[[], None],
    connection: psycopg.Connection,
    sync: Sync,
    client: Client,
    apply: Applying,
    events: list[dict[str, Any]],
    rules: dict[str, Any],
) -> None:
    clear()
    for number, event in enumerate(events):
        payload = {key: value for key, value in event.items() if key != "event"}
        timestamp = LAST_MONTH if number % 3 == 0 else NOW - timedelta(seconds=number % 2)
        store(connection, number, payload, event=event["event"], timestamp=timestamp)
    sync.run(SECONDS)
    before = payloads(connection)
    apply(**rules)
    wanted = {number: expected(events[number]["event"], payload, rules) for number, payload in before.items()}
    assert payloads(connection) == wanted
    sync.run(SECONDS)
    assert in_clickhouse(client) == in_postgres(connection)
    undone = apply.undo()
    assert payloads(connection) == before
    assert (undone.earlier, undone.different) == (0, 0)
    sync.run(SECONDS)
    assert in_clickhouse(client) == in_postgres(connection)


def test_a_run_that_is_killed_anywhere_goes_on_and_changes_each_event_once(
    connection: psycopg.Connection, database_url: str, tmp_path: Path
) -> None:
    count = 5 * ROWS_AT_ONCE // 2
    connection.execute(
        """
        INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)
        SELECT gen_random_uuid(), %s - number * interval '3 minutes', 201, 1, jsonb_build_object('n', number)
        FROM generate_series(1, %s) AS number
        """,
        [NOW, count],
    )
    before = payloads(connection)
    folder, file = tmp_path / "definitions", tmp_path / "before.ndjson"
    folder.mkdir()
    (folder / "__init__.py").touch()
    head = '"""A team."""\nfrom definitions import Feature, Payload\n'
    (folder / "answers.py").write_text(head + DEFINITIONS)
    (tmp_path / "killed").mkdir()
    folder.rename(tmp_path / "killed" / "killed_definitions")
    times = "30" if os.environ.get("SOAK") else "8"
    command = [sys.executable, "-m", "tests.support.killed_reprocess", database_url, str(file), times]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path / 'killed'}:{ROOT}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= int(times) // 2
    assert payloads(connection) == {number: {"n": payload["n"] / 2} for number, payload in before.items()}
    (runs,) = connection.execute("SELECT array_agg(counts) FROM reprocessings WHERE finished_at IS NOT NULL").fetchall()
    assert sum(counts["changed"] for counts in runs[0]) == count
    undone = undo_saved(database_url, file, "a test", apply=True)
    assert undone.different == 0
    assert payloads(connection) == before
    assert all(json.loads(line) for line in file.read_text().splitlines())
