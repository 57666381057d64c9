"""Payload values at paths, the same from both stores."""

import json
from typing import Any

from psycopg import sql

from functions.graphql.clickhouse import payload_sql as clickhouse_payload
from functions.graphql.postgres import payload_sql as postgres_payload
from functions.graphql.query.path import Path, read_path
from functions.graphql.query.scalar import scalar_from_key
from functions.graphql.types.filters import conditions
from tests.support.payloads import PayloadStores, value_at, write_path

PAYLOADS: list[dict[str, Any]] = [
    {"v": 1, "o": {"v": "one"}},
    {"v": 1.0},
    {"v": "1"},
    {"v": True},
    {"v": "true"},
    {"v": False, "a": [False, None, {"v": [1, {"x y": "z"}]}]},
    {"v": ""},
    {"v": 2**53 + 1},
    {"v": 2.0**53},
    {"v": 2**64 - 1, "a": [2**64 - 1, 2**63]},
    {"v": -(2**63), "a": [-(2**63), 1]},
    {"v": 2.0**63},
    {"v": -(2.0**63)},
    {"v": 1e300},
    {"v": 0.1, "a": [0.1, 1.0]},
    {"v": -0.0, "a": [-0.0]},
    {"v": 0},
    {"v": [1, 2]},
    {"v": {"v": 1}, "a": {"0": "no element", "v": "é'\\\"\n/"}},
    {"a": [{}, [], [[1], {"v": "s"}]]},
    {"a.b": {"`": "backtick"}, "": {"": 1}},
    {},
]
TEXTS = ["v", "o", "o.v", "a", "a[0]", "a[1]", "a[2]", "a[2].v", "a[2].v[1]", 'a[2].v[1]."x y"', "a.v", 'a."0"']
PATHS = [read_path(text) for text in [*TEXTS, "a[2][0][0]", "a[2][1].v", '"a.b"."`"', '""', '"".""', "v[0]", "a.0.v"]]


def of_type(value: Any, *kinds: type) -> Any:
    return value if type(value) in kinds else None


def whole(value: Any) -> Any:
    number = of_type(value, int, float)
    return int(number) if number is not None and number == int(number) and -(2**63) <= number < 2**64 else None


def as_float(value: Any) -> float | None:
    number = of_type(value, int, float)
    return None if number is None else float(number)


def expected(value: Any) -> tuple[Any, ...]:
    return whole(value), as_float(value), of_type(value, str), of_type(value, bool), scalar_part(value)


def scalar_part(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else None


def read(row: tuple[Any, ...]) -> tuple[Any, ...]:
    integer, number, text, boolean, *key = row
    return None if integer is None else int(integer), number, text, boolean, scalar_from_key(*key)


def test_both_stores_read_integers_numbers_texts_booleans_and_scalars(stores: PayloadStores) -> None:
    ids = stores.store(PAYLOADS)
    for path in PATHS:
        wanted = [expected(value_at(payload, path)) for payload in PAYLOADS]
        rows, others = in_postgres(stores, path), in_clickhouse(stores, path)
        assert [read(rows[identifier]) for identifier in ids] == wanted, write_path(path)
        assert [read(others[identifier]) for identifier in ids] == wanted, write_path(path)
        assert [rows[identifier][4:] for identifier in ids] == [others[identifier][4:] for identifier in ids]


def in_postgres(stores: PayloadStores, path: Path) -> dict[Any, Any]:
    values: dict[str, Any] = {}
    expressions = [
        postgres_payload.integer(path, values),
        postgres_payload.number(path, values),
        postgres_payload.text(path, values),
        postgres_payload.boolean(path, values),
        *postgres_payload.scalar_key(path, values),
    ]
    return stores.postgres_values(expressions, values)


def in_clickhouse(stores: PayloadStores, path: Path) -> dict[Any, Any]:
    values: dict[str, Any] = {}
    expressions = [
        clickhouse_payload.integer(path, values, stores.declared),
        clickhouse_payload.number(path, values, stores.declared),
        clickhouse_payload.text(path, values, stores.declared),
        clickhouse_payload.boolean(path, values, stores.declared),
        *clickhouse_payload.scalar_key(path, values, stores.declared),
    ]
    return stores.clickhouse_values(expressions, values)


def as_doubles(text: str) -> Any:
    """Decodes JSON with all numbers as doubles, because ClickHouse writes only the first digits from 2^63 on."""
    return json.loads(text, parse_int=float)


def test_both_stores_read_the_json_at_a_path(stores: PayloadStores) -> None:
    ids = stores.store(PAYLOADS)
    for path in PATHS:
        values: dict[str, Any] = {}
        rows = stores.postgres_values([postgres_payload.json_text(path, values)], values)
        other_values: dict[str, Any] = {}
        others = stores.clickhouse_values([clickhouse_payload.json_text(path, other_values)], other_values)
        values_there = [value_at(payload, path) for payload in PAYLOADS]
        wanted = [None if value is None else as_doubles(json.dumps(value)) for value in values_there]
        for found in (rows, others):
            texts = [found[identifier][0] for identifier in ids]
            assert [None if text is None else as_doubles(text) for text in texts] == wanted, write_path(path)


def test_equal_scalars_are_grouped_and_sorted_alike(stores: PayloadStores) -> None:
    stores.store(PAYLOADS)
    values: dict[str, Any] = {}
    key = sql.SQL(", ").join(postgres_payload.scalar_key(("v",), values))
    rows = stores.connection.execute(
        sql.SQL("SELECT {key}, count(*) FROM ai_usage_events AS events GROUP BY {key} ORDER BY {key}").format(key=key),
        values,
    ).fetchall()
    values = {}
    text = ", ".join(clickhouse_payload.scalar_key(("v",), values))
    others = stores.client.query(
        f"SELECT {text}, count() FROM ai_usage_events FINAL GROUP BY {text} ORDER BY {text}",
        parameters=values,
        settings=clickhouse_payload.SETTINGS,
    ).result_rows
    assert rows == others
    counted = [(scalar_from_key(*key), count) for *key, count in rows]
    assert counted[:4] == [(None, 5), (False, 1), (True, 1), (-(2**63), 2)]
    assert (1, 2) in counted
    assert ("1", 1) in counted
    assert counted[-1] == ("true", 1)


def columns_read(stores: PayloadStores, **payload_filter: Any) -> set[str]:
    values: dict[str, Any] = {}
    (condition,) = (clickhouse_payload.condition(condition, values) for condition in conditions([payload_filter]))
    plan = stores.client.query(
        f"EXPLAIN SELECT count() FROM ai_usage_events WHERE {condition}",
        parameters=values,
        settings=clickhouse_payload.SETTINGS | {"optimize_move_to_prewhere": 0},
    ).result_rows
    (output,) = [line for (line,) in plan[-1:]]
    return set(output.partition("Output: ")[2].split(", "))


def test_clickhouse_reads_only_what_the_path_names(stores: PayloadStores) -> None:
    stores.store([{"job": {"id": 1, "name": "x"}, "tags": ["a"], "other": "y" * 1000, "`": 1}])
    types = {"payload.job.id.:`Int64`", "payload.job.id.:`UInt64`", "payload.job.id.:`Float64`"}
    assert columns_read(stores, path="job.id", gt=1) == types
    assert columns_read(stores, path="job.name", eq="x") == {"payload.job.name.:`String`"}
    assert columns_read(stores, path="job", exists=True) == {"payload.job", "payload.^`job`"}
    assert columns_read(stores, path="tags[0]", eq="a") == {"payload.tags"}
    assert columns_read(stores, path="`", eq=1) == {"payload"}


def test_paths_that_have_no_column_of_their_own_are_read_as_well(stores: PayloadStores) -> None:
    payloads = [{f"key{number * 100 + key}": key for key in range(100)} for number in range(20)]
    ids = stores.store([*payloads, {"key1999": {"inner": ["a"]}}])
    asked = conditions([{"path": "key1999", "eq": 99}])
    inner = conditions([{"path": "key1999.inner[0]", "eq": "a"}])
    shared = "SELECT max(length(JSONSharedDataPaths(payload))) FROM ai_usage_events"
    assert stores.client.query(shared).result_rows[0][0] > 0
    assert stores.in_clickhouse(asked) == stores.in_postgres(asked) == {ids[19]}
    assert stores.in_clickhouse(inner) == stores.in_postgres(inner) == {ids[20]}


def test_numbers_that_no_double_holds_raise_no_error_in_postgresql(stores: PayloadStores) -> None:
    insert = "INSERT INTO ai_usage_events (id, timestamp, event, user_id, payload) VALUES (%s, now(), 6, 1, %s::jsonb)"
    texts = ['{"v": 1e400}', '{"v": -1e400}', '{"v": 1e-400}', '{"v": 123456789012345678901234567890}', '{"v": {}}']
    for number, text in enumerate(texts):
        stores.connection.execute(insert, [f"00000000-0000-0000-0000-{number:012}", text])
    rows = in_postgres(stores, ("v",))
    assert [row[:2] for row in rows.values()] == [(None, None)] * 3 + [(None, 123456789012345678901234567890.0)] + [
        (None, None)
    ]
    more = conditions([{"path": "v", "gt": 1e308}])
    assert len(stores.in_postgres(more)) == 1
    assert len(stores.in_postgres(conditions([{"path": "v", "exists": True}]))) == 4
