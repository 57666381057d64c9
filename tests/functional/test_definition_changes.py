"""What a deployment does with definitions that differ from those deployed before."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from functions.graphql.types.payload_fields import typed_value
from functions.shared import settings
from functions.shared.catalog.definition_error import DefinitionError
from functions.shared.catalog.registry import Registry
from infra.migrations.change import find
from infra.migrations.changes import changes
from infra.migrations.deployed import Deployed, DeployedKey, read_deployed
from infra.migrations.handler import build
from infra.migrations.migrate import migrate
from tests.support.definitions import load_from

type Deploy = Callable[..., list[str]]
type Store = Callable[..., None]

HEAD = "from datetime import datetime\nclass Part(Payload):\n    size: int | None = None\n"
FEATURE = """
class Build(Payload):
{keys}
Feature("builds", owner="o", payload=Build).events({events})
"""


@pytest.fixture
def define(folder: Path) -> Callable[..., Registry]:
    """Definitions of one feature with these keys and events."""

    def define(*keys: str, events: str = "build_done=101") -> Registry:
        lines = "\n".join(f"    {key}" for key in keys) or "    pass"
        return load_from(folder, builds=HEAD + FEATURE.format(keys=lines, events=events))

    return define


@pytest.fixture
def deploy(database_url: str) -> Deploy:
    def deploy(registry: Registry, *accepted: str) -> list[str]:
        lines = migrate(database_url, registry, 3, 600, accepted)
        return [line for line in lines if not line.startswith("recorded ")]

    return deploy


@pytest.fixture
def store(connection: psycopg.Connection) -> Store:
    """Stores an event with this payload."""

    def store(event_id: int = 101, **payload: Any) -> None:
        connection.execute(
            "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload)"
            " VALUES (gen_random_uuid(), now(), %s, 1, %s)",
            [event_id, json.dumps(payload)],
        )

    return store


VALUES: dict[str, list[Any]] = {
    "str": ["", "7", "2026-11-20T15:00:59.936Z"],
    "int": [7, -1],
    "float": [7.0, 7.5],
    "bool": [True],
    "datetime": ["2026-11-20T15:00:59.936Z"],
    "Part": [{"size": 1}],
    "list[int]": [[], [1, None]],
    "list[str]": [["a"]],
    "list[list[int]]": [[[1], [2]]],
    "list[Part]": [[{"size": 1}]],
}


def is_read(value: Any, now: str, define: Callable[..., Registry]) -> bool:
    """Whether GraphQL shows the whole value as a key of the type."""
    shown = typed_value(value, define(f"key: {now} | None = None").payload_types["key"])
    return shown is not None and holes(shown) == holes(value)


def holes(value: Any) -> int:
    return sum(map(holes, value)) if isinstance(value, list) else int(value is None)


@pytest.mark.parametrize("before", VALUES)
def test_a_key_changes_its_type_unless_stored_values_do_not_fit(
    before: str, define: Callable[..., Registry], store: Store, connection: psycopg.Connection
) -> None:
    recorded = define(f"key: {before} | None = None").features["builds"].declared_keys
    deployed = Deployed({}, keys=tuple(DeployedKey("builds", *key, 0, None) for key in recorded))
    for now in VALUES:
        found = changes(deployed, define(f"key: {now} | None = None"))
        for value in VALUES[before]:
            connection.execute("TRUNCATE ai_usage_events")
            store(key=value)
            fits = before == now or (is_read(value, now, define) and (before, now) != ("str", "datetime"))
            assert any(finding.is_refused for finding in find(connection, found)) is not fits, (value, now)


def test_a_key_without_stored_values_takes_any_type(
    define: Callable[..., Registry], deploy: Deploy, store: Store
) -> None:
    deploy(define("key: int | None = None"))
    store(other=1)
    assert deploy(define("key: str | None = None")) == []


def test_the_key_of_another_feature_and_a_former_key_keep_their_type_too(
    define: Callable[..., Registry], deploy: Deploy, store: Store, folder: Path
) -> None:
    deploy(define("key: int | None = None"))
    store(key=1)
    deploy(define())
    text = 'class T(Payload):\n    key: str | None = None\nFeature("tests", owner="o", payload=T).events(test_done=102)'
    both = load_from(folder, builds='Feature("builds", owner="o").events(build_done=101)', tests=text)
    with pytest.raises(DefinitionError, match="key changes from int to str"):
        deploy(both)


def test_a_refused_change_says_how_to_accept_it_and_is_then_deployed(
    define: Callable[..., Registry], deploy: Deploy, store: Store, connection: psycopg.Connection
) -> None:
    deploy(define("name: str", "size: int | None = None", "part: list[Part] | None = None"))
    store(size=1, part=[{"size": 2}], name="a")
    store(102)
    changed = define("size: str | None = None", "part: list[str] | None = None")
    with pytest.raises(DefinitionError) as refused:
        deploy(changed)
    how, *problems = str(refused.value).splitlines()
    assert len(problems) == 3
    _, _, names = how.rpartition(" to ")
    assert names == "part:list-of-str,size:str,builds.name"
    with pytest.raises(DefinitionError, match=r"AcceptUnreadable.* to size:str,builds.name\n"):
        deploy(changed, "part:list-of-str")
    assert len(deploy(changed, *names.split(","), "other")) == 3
    assert deploy(changed) == []
    keys = connection.execute("SELECT path, type, release, removed_in FROM payload_keys WHERE feature = 'builds'")
    assert sorted(keys) == [
        ("name", "str", 2, 3),
        ("part", "list of str", 3, None),
        ("part[].size", "int", 2, 3),
        ("size", "str", 3, None),
    ]


def test_a_required_key_is_made_optional_before_it_is_removed(
    define: Callable[..., Registry], deploy: Deploy, store: Store
) -> None:
    deploy(define("size: int", "name: str | None = None"))
    store(size=1, name="a")
    with pytest.raises(DefinitionError, match="no longer declares the payload key size, which was required: make it"):
        deploy(define())
    assert deploy(define("size: int | None = None")) == []
    assert deploy(define()) == []


def test_a_feature_under_another_name_with_the_same_keys_is_deployed(
    define: Callable[..., Registry], deploy: Deploy, store: Store, folder: Path, connection: psycopg.Connection
) -> None:
    deploy(define("size: int"))
    store(size=1)
    text = 'class B(Payload):\n    size: int\nFeature("pipelines", owner="o", payload=B).events(build_done=101)'
    assert deploy(load_from(folder, builds=text)) == []
    assert connection.execute("SELECT feature, release FROM event_types").fetchall() == [("pipelines", 2)]


def test_a_feature_that_tells_its_former_name_changes_nothing_else(
    define: Callable[..., Registry], deploy: Deploy, store: Store, folder: Path, connection: psycopg.Connection
) -> None:
    before = define("note: str", "size: int | None = None")
    deploy(before)
    store(size=1, note="a")
    text = FEATURE.format(keys="    note: str\n    size: int | None = None", events="build_done=101")
    text = text.replace('Feature("builds", owner="o"', 'Feature("pipelines", owner="o", former_names=["builds"]')
    renamed = load_from(folder, builds=HEAD + text)
    (change,) = changes(read_deployed(connection), renamed)
    assert (change.sign, change.what, change.rows) == ("~", "feature builds becomes pipelines", None)
    deploy(renamed)
    assert changes(read_deployed(connection), renamed) == []
    assert connection.execute("SELECT feature FROM event_types").fetchall() == [("pipelines",)]
    deploy(before)  # an older release comes back
    deploy(renamed)
    assert changes(read_deployed(connection), renamed) == []


def test_an_accepted_removal_keeps_the_id_from_other_events(
    define: Callable[..., Registry], deploy: Deploy, store: Store, connection: psycopg.Connection
) -> None:
    deploy(define(events="build_done=101, build_lost=102"))
    store(102)
    with pytest.raises(DefinitionError, match=r"build_lost \(102\) is stored .*deprecated_events\(build_lost=102\)"):
        deploy(define())
    assert len(deploy(define(), "build_lost")) == 1
    assert deploy(define()) == []
    with pytest.raises(DefinitionError, match=r"stored as build_lost \(102\)"):
        deploy(define(events="build_done=101, build_found=102"))
    assert deploy(define(events="build_done=101, build_lost=102")) == []
    rows = connection.execute("SELECT id, release, removed_in FROM event_types ORDER BY id").fetchall()
    assert rows == [(101, 2, None), (102, 2, None)]


def test_the_name_of_a_removed_event_can_have_another_id(
    define: Callable[..., Registry], deploy: Deploy, store: Store
) -> None:
    deploy(define(events="build_done=101, build_lost=102"))
    store(102)
    deploy(define(), "build_lost")
    assert deploy(define(events="build_done=101, build_lost=103")) == []


def test_rows_that_only_clickhouse_has_count_as_stored(
    define: Callable[..., Registry], deploy: Deploy, connection: psycopg.Connection
) -> None:
    before = define("size: int", events="build_done=101, build_lost=102")
    deploy(before)
    connection.execute("UPDATE event_types SET only_in_clickhouse = true")
    for changed in (
        define("size: str", events="build_done=101, build_lost=102"),
        define(events="build_done=101, build_lost=102"),
        define("size: int"),
    ):
        with pytest.raises(DefinitionError, match="Rows that only ClickHouse has would be affected"):
            deploy(changed)
    assert deploy(define("size: float", events="build_done=101, build_lost=102")) == []


def test_an_older_release_is_deployed_again_over_what_a_newer_one_defined(
    define: Callable[..., Registry], deploy: Deploy, store: Store, connection: psycopg.Connection
) -> None:
    older = define("size: int | None = None")
    newer = define("size: str", "name: str", events="build_done=101, build_found=102")
    deploy(older)
    deploy(newer)
    store(102, size="1", name="a")
    recorded = "SELECT * FROM event_types, payload_keys ORDER BY id, path"
    before = connection.execute(recorded).fetchall()
    assert deploy(older) == [
        "left alone, because release 3 is newer: event build_found (102)",
        "left alone, because release 3 is newer: payload key size changes from str to int",
        "left alone, because release 3 is newer: payload key name (str, required) of builds",
    ]
    assert connection.execute(recorded).fetchall() == before
    assert deploy(newer) == []
    deploy(define("size: str", "name: str", events="build_done=101, build_found=102, build_kept=103"))
    with pytest.raises(DefinitionError, match=r"build_found \(102\) is stored but no longer defined"):
        deploy(define("size: str", "name: str"))


def test_an_older_release_that_reads_stored_events_as_others_is_refused(
    define: Callable[..., Registry], deploy: Deploy, store: Store
) -> None:
    older = define(events="build_done=101, build_lost=102")
    deploy(older)
    deploy(define(events="build_done=101, build_found=102"))
    store(102)
    with pytest.raises(DefinitionError, match=r"stored as build_found \(102\), but .* names this id build_lost"):
        deploy(older)


def test_a_schema_of_a_newer_release_stays_as_it_is(
    define: Callable[..., Registry], deploy: Deploy, connection: psycopg.Connection
) -> None:
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    (line,) = deploy(define())
    assert "does not know the migration 9999" in line
    assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    assert connection.execute("SELECT name FROM event_types").fetchall() == [("build_done",)]


def test_the_deployed_function_accepts_what_the_setting_names(
    database_url: str, connection: psycopg.Connection, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute("INSERT INTO event_types (id, name, feature, deprecated) VALUES (101, 'build_done', 'b', false)")
    store(101)
    monkeypatch.setenv("DATABASE_URL", database_url)
    deployment = build(settings.database_url, settings.retention_months)
    with pytest.raises(DefinitionError, match=r"To deploy all the same, set ACCEPT_UNREADABLE .* to build_done\n"):
        deployment.migrate(600, print)
    monkeypatch.setenv("ACCEPT_UNREADABLE", " build_done , other")
    lines: list[str] = []
    deployment.migrate(600, lines.append)
    assert lines[0].startswith("accepted: build_done (101) is stored but no longer defined")


def test_definitions_of_a_release_are_the_same_in_any_order(
    define: Callable[..., Registry], deploy: Deploy, connection: psycopg.Connection
) -> None:
    deploy(define("a: int", "b: int", events="build_done=101, build_lost=102"))
    deploy(define("b: int", "a: int", events="build_lost=102, build_done=101"))
    assert connection.execute("SELECT max(number) FROM releases").fetchone() == (2,)
