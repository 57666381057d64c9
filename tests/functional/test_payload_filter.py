"""Payload filters, on both stores against a plain model."""

import dataclasses
import os
import re
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from functions.graphql.query.errors import InvalidArgument
from functions.graphql.query.path import Path
from functions.ingest.event.storable import normalised
from functions.shared.rejection import Rejection
from tests.support.payloads import PayloadStores, conditions_of, fulfils, write_path

OPERATORS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "notIn", "like", "startsWith", "contains", "exists")
EXAMPLES, FILTERS_EACH = (100, 20) if os.environ.get("SOAK") else (3, 20)


ODD_KEYS = [
    "",
    "0",
    "a.b",
    'say "hi"',
    "b`c",
    "`",
    ":`Int64`",
    "^`a`",
    "@a",
    "a[]",
    "%2e",
    "\\",
    "{a:String}",
    "\n\t",
    "é日😀",
]
# Of these, some are objects in some payloads, and some are keys of another.
DECLARED = frozenset({("a",), ("b",), ("a", "b"), ("b", "a")})
KEYS = (
    st.sampled_from(["a", "b", "c"])
    | st.sampled_from(ODD_KEYS)
    | st.text(
        st.sampled_from("ab.\"'`\\ %^:@[]{}()?$-\n\t/_0\x01\x7fé日😀")
        | st.characters(codec="utf-8", exclude_characters="\0"),
        max_size=5,
    )
)
ODD_STRINGS = [
    "",
    "a",
    "A",
    "ä",
    "1",
    "true",
    "null",
    "[1]",
    "18446744073709551616",
    "2026-11-20",
    "' OR 1=1 --",
    "\\'",
]
STRINGS = st.sampled_from(ODD_STRINGS) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
INTEGERS = st.sampled_from([0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)])
FLOATS = st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0**53, 2.0**60, 2.0**63, 2.0**64, 1e20, 1e300, 5e-324, 0.1])
SCALARS = (
    st.booleans()
    | INTEGERS
    | FLOATS
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | STRINGS
)


class Maker:
    """Makes payloads from a few keys and scalars, and filters that match some of them."""

    def __init__(self, random: Random, keys: list[str], scalars: list[Any]) -> None:
        self._random = random
        self._keys = keys
        self._scalars = scalars

    def payload(self) -> dict[str, Any]:
        return {key: self._value(1) for key in self._random.sample(self._keys, self._random.randrange(len(self._keys)))}

    def _value(self, depth: int) -> Any:
        kind = self._random.choice(["scalar", "scalar", "scalar", "null", "array", "object", "object"])
        if kind == "null":
            return None
        if kind == "scalar" or depth > 3:
            return self._random.choice(self._scalars)
        if kind == "object":
            return {key: self._value(depth + 1) for key in self._random.sample(self._keys, 2)}
        length = self._random.randrange(4)
        if self._random.random() < 0.3:
            return [self._random.choice(self._scalars)] * length
        return [self._value(depth + 1) for _ in range(length)]

    def filter(self, payloads: list[dict[str, Any]], depth: int = 1) -> dict[str, Any]:
        if depth < 3 and self._random.random() < 0.25:
            name = self._random.choice(["not", "any", "all"])
            inner = [self.filter(payloads, depth + 1) for _ in range(self._random.randrange(3))]
            return {name: self.filter(payloads, depth + 1) if name == "not" else inner}
        paths: list[Path] = [*paths_in(self._random.choice(payloads)), tuple(self._keys[:2])]
        path = self._random.choice(paths)
        if self._random.random() < 0.1:
            odd_steps: list[str | int] = [*self._keys, "0", 0, 1, "%2E"]
            odd = self._random.choice(odd_steps)
            path = (*(path[:-1] or path), odd)
        given: dict[str, Any] = {"path": write_path(path)}
        for operator in self._random.sample(OPERATORS, self._random.choice([1, 1, 1, 2])):
            if operator == "exists":
                given[operator] = self._random.choice([True, False])
            elif operator in ("like", "startsWith"):
                given[operator] = self._pattern() if operator == "like" else self._text()[: self._random.randrange(3)]
            elif operator in ("in", "notIn"):
                given[operator] = self._random.choices(self._scalars, k=self._random.randrange(4))
            else:
                given[operator] = self._random.choice(self._scalars)
        return given

    def _text(self) -> str:
        return str(self._random.choice([*filter(lambda scalar: isinstance(scalar, str), self._scalars), "a", "a%b"]))

    def _pattern(self) -> str:
        """Makes a pattern from a string, with some of its characters left open."""
        parts = [re.sub(r"([%_\\])", r"\\\1", character) for character in self._text()]
        return "".join(self._random.choice([part, part, part, "_", "%", ""]) for part in parts)


def stored(payload: dict[str, Any]) -> Any:
    """Returns the payload as stored; None if the consumer rejects it or ClickHouse does not write its numbers out."""
    try:
        return None if holds_large_float(payload) else normalised(payload)
    except Rejection:
        return None


def holds_large_float(value: Any, *, as_text: bool = False) -> bool:
    """Whether a value is a float of 2^63 or more, which ClickHouse's text form rounds."""
    if isinstance(value, list):
        return any(holds_large_float(item, as_text=True) for item in value)
    if isinstance(value, dict):
        return any(holds_large_float(item, as_text=as_text or not key or "`" in key) for key, item in value.items())
    return as_text and isinstance(value, float) and abs(value) >= 2.0**63


def paths_in(value: Any, above: Path = ()) -> Iterator[Path]:
    """Returns all paths in the payloads."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in items:
        yield (*above, step)
        yield from paths_in(item, (*above, step))


# Whoever wants a smaller failure takes fewer keys and scalars: to shrink hundreds of payloads takes minutes.
@settings(
    max_examples=EXAMPLES,
    phases=[Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(KEYS, min_size=3, max_size=6, unique=True),
    st.lists(SCALARS, min_size=4, max_size=8),
    st.randoms(use_true_random=True),
)
def test_both_stores_find_what_the_model_finds(
    stores: PayloadStores, keys: list[str], scalars: list[Any], random: Random
) -> None:
    stores.sync = dataclasses.replace(stores.sync, declared=DECLARED)
    maker = Maker(random, keys, scalars)
    payloads = [kept for _ in range(200) if (kept := stored(maker.payload())) is not None]
    ids = stores.store(payloads)
    for _ in range(FILTERS_EACH):
        filters = [maker.filter(payloads) for _ in range(random.choice([1, 1, 2]))]
        asked = conditions_of(filters)
        expected = {
            identifier
            for identifier, payload in zip(ids, payloads, strict=True)
            if all(fulfils(payload, condition) for condition in asked)
        }
        assert stores.in_postgres(asked) == expected, filters
        assert stores.in_clickhouse(asked) == expected, filters


TABLE: list[dict[str, Any]] = [
    {},  # 0
    {"v": None},  # 1
    {"v": 1},  # 2
    {"v": 1.0},  # 3
    {"v": 1.5},  # 4
    {"v": "1"},  # 5
    {"v": "ä"},  # 6
    {"v": "Z"},  # 7
    {"v": True},  # 8
    {"v": False},  # 9
    {"v": [1]},  # 10
    {"v": {"0": 1, "w": 1}},  # 11
    {"v": 2**53 + 1},  # 12
    {"v": 2.0**53},  # 13
    {"v": 2**64 - 1},  # 14
    {"v": {}},  # 15
    {"v": [{"w": 1}, None, {}, [7], ""]},  # 16
    {"v": 2.0**60},  # 17
]
PRESENT = {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17}


FILTERS: list[tuple[dict[str, Any], set[int]]] = [
    ({"path": "v", "exists": True}, PRESENT),
    ({"path": "v", "exists": False}, set(range(18)) - PRESENT),
    ({"path": "v", "eq": 1}, {2, 3}),
    ({"path": "v", "eq": 1.0}, {2, 3}),
    ({"path": "v", "eq": "1"}, {5}),
    ({"path": "v", "eq": True}, {8}),
    ({"path": "v", "ne": 1}, PRESENT - {2, 3}),
    ({"path": "v", "ne": "missing"}, PRESENT),
    ({"path": "v", "gt": 1}, {4, 12, 13, 14, 17}),
    ({"path": "v", "gt": 2**53}, {12, 14, 17}),
    ({"path": "v", "gt": 4503599627370495.5}, {12, 13, 14, 17}),
    ({"path": "v", "lte": 2.0**53}, {2, 3, 4, 13}),
    ({"path": "v", "gte": 2**64 - 1}, {14}),
    ({"path": "v", "lt": 2.0**64}, {2, 3, 4, 12, 13, 14, 17}),
    ({"path": "v", "eq": 2.0**60}, {17}),
    ({"path": "v", "gt": "Z"}, {6}),
    ({"path": "v", "lt": "a"}, {5, 7}),
    ({"path": "v", "lt": True}, {9}),
    ({"path": "v", "gte": False}, {8, 9}),
    ({"path": "v", "in": [1, "1", True]}, {2, 3, 5, 8}),
    ({"path": "v", "in": []}, set()),
    ({"path": "v", "gt": 1, "lt": 2}, {4}),
    ({"path": "v", "notIn": [1, "1", True]}, PRESENT - {2, 3, 5, 8}),
    ({"path": "v", "notIn": []}, PRESENT),
    ({"path": "v", "like": "_"}, {5, 6, 7}),
    ({"path": "v", "like": "%"}, {5, 6, 7}),
    ({"path": "v", "like": "z"}, set()),
    ({"path": "v", "like": ""}, set()),
    ({"path": "v", "startsWith": "Z"}, {7}),
    ({"path": "v", "startsWith": ""}, {5, 6, 7}),
    ({"path": "v", "contains": 1}, {10}),
    ({"path": "v", "contains": ""}, {16}),
    ({"path": "v[3]", "contains": 7}, {16}),
    ({"not": {"path": "v", "gt": 1}}, set(range(18)) - {4, 12, 13, 14, 17}),
    ({"not": {"path": "v", "exists": True}, "path": "v", "exists": False}, set(range(18)) - PRESENT),
    ({"any": [{"path": "v", "eq": 1}, {"path": "v", "startsWith": "Z"}]}, {2, 3, 7}),
    ({"any": []}, set()),
    ({"all": []}, set(range(18))),
    ({"all": [{"path": "v", "gt": 1}, {"not": {"path": "v", "gt": 2}}]}, {4}),
    ({"path": "v[0]", "eq": 1}, {10}),
    ({"path": "v[0]", "exists": True}, {10, 16}),
    ({"path": "v[1]", "exists": True}, set()),
    ({"path": "v[2]", "exists": True}, {16}),
    ({"path": "v[0].w", "eq": 1}, {16}),
    ({"path": "v[3][0]", "eq": 7}, {16}),
    ({"path": "v.0", "eq": 1}, {11}),
    ({"path": "v.w", "exists": True}, {11}),
    ({"path": "' OR true --", "exists": True}, set()),
    ({"path": "v", "eq": "' OR true --"}, set()),
    ({"path": "v`) OR 1 --", "ne": 1}, set()),
    ({"path": "v\\", "exists": True}, set()),
    ({"path": "{value_0:String}", "eq": "%(value_0)s"}, set()),
]


def test_both_stores_compare_numbers_strings_and_booleans_each_with_their_like(stores: PayloadStores) -> None:
    ids = stores.store(TABLE)
    for asked, found in FILTERS:
        numbers = {identifier: number for number, identifier in enumerate(ids)}
        assert {numbers[identifier] for identifier in stores.in_postgres(conditions_of([asked]))} == found, asked
        assert {numbers[identifier] for identifier in stores.in_clickhouse(conditions_of([asked]))} == found, asked


def test_all_filters_must_be_passed_and_no_filter_passes_all(stores: PayloadStores) -> None:
    ids = stores.store([{"a": 1, "b": 1}, {"a": 1}, {"b": 1}])
    asked = conditions_of([{"path": "a", "gte": 1, "lte": 1}, {"path": "b", "exists": False}])
    assert stores.in_postgres(asked) == stores.in_clickhouse(asked) == {ids[1]}
    assert conditions_of([]) == ()


def test_as_many_filters_as_may_be_with_paths_as_long_as_may_be_are_answered(stores: PayloadStores) -> None:
    (identifier,) = stores.store([{"a": 1}])
    everything = {"ne": 1, "gt": 1, "gte": 1, "lt": 1, "lte": 1, "in": [1], "exists": False}
    long = [{"path": ".".join("a" * 64)} | everything, *[{"path": "'" * 1024} | everything] * 19]
    assert stores.in_postgres(conditions_of(long)) == stores.in_clickhouse(conditions_of(long)) == set()
    deep = [{"path": f"a{'[0]' * 63}"} | everything, {"path": f"x{'[0].b' * 31}"} | everything]
    assert stores.in_postgres(conditions_of(deep)) == stores.in_clickhouse(conditions_of(deep)) == set()
    missing = [{"path": f"x{'[0].b' * 10}", "exists": False}] * 20
    assert stores.in_postgres(conditions_of(missing)) == stores.in_clickhouse(conditions_of(missing)) == {identifier}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"path": "a..b", "eq": 1}, "'a..b' is not a path"),
        ({"path": "a"}, "at least one of eq, ne"),
        ({"eq": 1}, "a filter with eq needs a path"),
        ({"not": {"path": "a"}}, "at least one of eq, ne"),
        ({"any": [{"eq": 1}]}, "a filter with eq needs a path"),
        ({"any": [{"path": "a", "eq": 1}] * 20}, "at most 20 filters, not 21"),
        ({"path": "a", "like": 1}, "like must be a string"),
        ({"path": "a", "like": "a\\b"}, "a backslash must stand before %, _ or another backslash"),
        ({"path": "a", "like": "a\\\\\\"}, "a backslash must stand before %, _ or another backslash"),
        ({"path": "a", "startsWith": None}, "startsWith must be a string"),
        ({"path": "a", "contains": [1]}, "contains takes a string, number or boolean"),
        ({"path": "a", "notIn": 1}, "notIn must be a list"),
        ({"path": "a", "eq": [1]}, "eq takes a string, number or boolean"),
        ({"path": "a", "gt": {"b": 1}}, "gt takes a string, number or boolean"),
        ({"path": "a", "eq": None}, "eq can't be null; use exists: false to find null and missing values"),
        ({"path": "a", "in": [1, None]}, "in can't be null"),
        ({"path": "a", "in": None}, "in must be a list"),
        ({"path": "a", "in": "a"}, "in must be a list"),
        ({"path": "a", "in": [[1]]}, "in takes a string"),
        ({"path": "a", "exists": None}, "exists must be true or false"),
        ({"path": "a", "lt": 2**64}, "lt has a number that does not fit in 64 bits"),
        ({"path": "a", "lt": -(2**63) - 1}, "does not fit in 64 bits"),
        ({"path": "a", "lt": float("inf")}, "does not fit in a double"),
        ({"path": "a", "ne": "a\0"}, "U+0000"),
        ({"path": "a", "ne": "\ud800"}, "half a surrogate pair"),
        ({"path": "a", "in": list(range(1001))}, "at most 1,000 values, not 1,001"),
        ({"path": "a", "eq": "x" * 16385}, "longer than any payload"),
        ({"path": "a", "in": ["x" * 10000] * 7}, "at most 65,536 bytes in all"),
    ],
)
def test_a_filter_that_can_not_be_meant_is_refused_with_the_reason(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        conditions_of([asked])
    assert said in str(refused.value)


def test_a_thousand_values_may_be_asked_for(stores: PayloadStores) -> None:
    ids = stores.store([{"v": 999}, {"v": 999.0}, {"v": "999"}, {"v": [999]}])
    asked = conditions_of([{"path": "v", "in": list(range(1000))}])
    assert stores.in_postgres(asked) == stores.in_clickhouse(asked) == set(ids[:2])
    asked = conditions_of([{"path": "v", "in": [f"{number}\n'\\é\t" * 4 for number in range(999)] + ["999"]}])
    assert stores.in_postgres(asked) == stores.in_clickhouse(asked) == {ids[2]}


def test_more_than_twenty_filters_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="at most 20 filters, not 21"):
        conditions_of([{"path": "a", "eq": 1}] * 21)
    with pytest.raises(InvalidArgument, match="the paths have at most 1,000 steps in all, not 1,024"):
        conditions_of([{"path": f"a{'[0]' * 63}", "eq": 1, "ne": 1}] * 8)
