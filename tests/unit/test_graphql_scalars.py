import json
import re
from typing import Any

import pytest
from ariadne import make_executable_schema
from graphql import GraphQLError, graphql_sync

from functions.graphql.types.scalars import SCALARS

ECHO = "type Query { echo(json: JSON, day: Date, number: Int): JSON } scalar JSON scalar Date scalar Time scalar Long"


def echoed(query: str, **variables: Any) -> Any:
    schema = make_executable_schema(ECHO, *SCALARS)
    query_type = schema.query_type
    assert query_type
    query_type.fields["echo"].resolve = lambda *_, **arguments: {"echo": arguments.get("json")}
    result = graphql_sync(schema, query, variable_values=variables)
    if result.errors:
        raise result.errors[0]
    assert result.data
    return result.data["echo"]["echo"]


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("1", 1),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ('"a\\"b"', 'a"b'),
        ("true", True),
        ("null", None),
        ('[1, "a", [false], null, {}]', [1, "a", [False], None, {}]),
        ('{a: {b: [1, {c: "d"}]}}', {"a": {"b": [1, {"c": "d"}]}}),
    ],
)
def test_a_json_literal_is_what_it_says(literal: str, value: Any) -> None:
    for answer in (echoed(f"{{ echo(json: {literal}) }}"), echoed("query ($v: JSON) { echo(json: $v) }", v=value)):
        assert (answer, type(answer)) == (value, type(value))


def test_a_json_literal_may_hold_variables() -> None:
    query = "query ($a: Int, $b: JSON, $c: String) { echo(json: {a: [$a, $c], b: $b, c: $c}) }"
    assert echoed(query, a=1, b={"x": [2]}) == {"a": [1, None], "b": {"x": [2]}}


@pytest.mark.parametrize(
    ("literal", "said"),
    [
        ("18446744073709551616", "64 bits"),
        ("-9223372036854775809", "64 bits"),
        ("9" * 5000, "64 bits"),
        ("1e999", "finite"),
        ('"\\u0000"', "U+0000"),
        ("[[1, 1e999]]", "finite"),
        ("[" * 70 + "]" * 70, "nested at most 64 levels deep"),
    ],
)
def test_a_json_value_that_no_payload_holds_is_refused(literal: str, said: str) -> None:
    with pytest.raises(GraphQLError, match=re.escape(said)) as raised:
        echoed(f"{{ echo(json: {literal}) }}")
    assert len(raised.value.message) < 200


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (2**64, "64 bits"),
        (float("inf"), "finite"),
        ({"a\0": 1}, "U+0000"),
        (json.loads("[" * 70 + "]" * 70), "nested at most 64 levels deep"),
    ],
)
def test_a_json_variable_that_no_payload_holds_is_refused(value: Any, said: str) -> None:
    with pytest.raises(GraphQLError, match=re.escape(said)):
        echoed("query ($v: JSON) { echo(json: $v) }", v=value)


def test_a_day_within_json_is_refused() -> None:
    with pytest.raises(GraphQLError, match="Variables in JSON values must have the type JSON"):
        echoed("query ($d: Date) { echo(json: [$d]) }", d="2026-11-20")


@pytest.mark.parametrize("day", ["0001-01-01", "1969-12-31", "2200-01-01", "9999-12-31"])
def test_a_day_that_no_store_can_compare_with_is_refused(day: str) -> None:
    with pytest.raises(GraphQLError, match="days are from 1970-01-01 to 2199-12-31"):
        echoed(f'{{ echo(day: "{day}") }}')


@pytest.mark.parametrize("value", ["x" * 100_000, 10**300, ["x" * 100_000], {"a": "x" * 100_000}, True, "2026-W01-1"])
def test_a_day_that_is_none_is_not_repeated_at_length(value: Any) -> None:
    with pytest.raises(GraphQLError, match="is not a day") as raised:
        echoed("query ($d: Date) { echo(day: $d) }", d=value)
    assert len(raised.value.message) < 140
