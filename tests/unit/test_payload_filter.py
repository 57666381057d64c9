"""Filters on payloads, on both stores at once and against a plain model of them."""

import os
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from functions.graphql.payload_filter import conditions
from functions.graphql.payload_path import Path, write_path
from functions.shared.payload import normalised
from functions.shared.rejection import Rejection
from tests.payloads import Stores, fulfils, open_stores

OPERATORS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "exists")
EXAMPLES, FILTERS_EACH = (100, 20) if os.environ.get("SOAK") else (3, 20)


@pytest.fixture
def stores(database_url: str, clickhouse_url: str) -> Iterator[Stores]:
    with open_stores(database_url, clickhouse_url) as stores:
        yield stores


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
    """Makes payloads of a few keys and scalars, so that they have much in common, and filters that concern them."""

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

    def filter(self, payloads: list[dict[str, Any]]) -> dict[str, Any]:
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
            elif operator == "in":
                given[operator] = self._random.choices(self._scalars, k=self._random.randrange(4))
            else:
                given[operator] = self._random.choice(self._scalars)
        return given


def stored(payload: dict[str, Any]) -> Any:
    """The payload as the consumer keeps it; None where it refuses it, or ClickHouse does not write its numbers out."""
    try:
        return None if holds_large_float(payload) else normalised(payload)
    except Rejection:
        return None


def holds_large_float(value: Any, *, as_text: bool = False) -> bool:
    """Whether a float of 2^63 or more is where ClickHouse's text is read, in which such numbers are rounded."""
    if isinstance(value, list):
        return any(holds_large_float(item, as_text=True) for item in value)
    if isinstance(value, dict):
        return any(holds_large_float(item, as_text=as_text or not key or "`" in key) for key, item in value.items())
    return as_text and isinstance(value, float) and abs(value) >= 2.0**63


def paths_in(value: Any, above: Path = ()) -> Iterator[Path]:
    """All paths that there are."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in items:
        yield (*above, step)
        yield from paths_in(item, (*above, step))


@pytest.fixture
def both(stores: Stores) -> Stores:
    """Both stores, for all examples together."""
    return stores


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
    both: Stores, keys: list[str], scalars: list[Any], random: Random
) -> None:
    maker = Maker(random, keys, scalars)
    payloads = [kept for _ in range(200) if (kept := stored(maker.payload())) is not None]
    ids = both.store(payloads)
    for _ in range(FILTERS_EACH):
        filters = [maker.filter(payloads) for _ in range(random.choice([1, 1, 2]))]
        asked = conditions(filters)
        expected = {
            identifier
            for identifier, payload in zip(ids, payloads, strict=True)
            if all(fulfils(payload, condition) for condition in asked)
        }
        assert both.in_postgres(asked) == expected, filters
        assert both.in_clickhouse(asked) == expected, filters
