"""Filters on payloads, on both stores at once and against a plain model of them."""

import os
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.graphql.payload_filter import conditions
from functions.graphql.payload_path import Path, write_path
from functions.shared.payload import normalised
from functions.shared.rejection import Rejection
from tests.payloads import Stores, fulfils, open_stores, value_at

EXAMPLES, FILTERS_EACH = (100, 20) if os.environ.get("SOAK") else (3, 20)


@pytest.fixture
def stores(database_url: str, clickhouse_url: str) -> Iterator[Stores]:
    with open_stores(database_url, clickhouse_url) as stores:
        yield stores


KEYS = st.sampled_from(["a", "b", "c", "0", "", "a.b", 'say "hi"']) | st.text(
    st.sampled_from(".\"'`\\ %^:@[]{}()?$-\n\t/_0a\x01\x7fé日😀")
    | st.characters(codec="utf-8", exclude_characters="\0"),
    max_size=5,
)
STRINGS = st.sampled_from(["", "a", "A", "ä", "1", "true", "null", "18446744073709551616", "2026-11-20"]) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=6
)
NUMBERS = (
    st.sampled_from([0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)])
    | st.sampled_from([0.0, -0.0, 1.0, 1.5, 2.0**53, 2.0**60, 2.0**63, 2.0**64, 1e20, 1e300, 5e-324, 0.1])
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
)
SCALARS = st.booleans() | NUMBERS | STRINGS
PAYLOADS = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS | st.none(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
        max_leaves=8,
    ),
    max_size=5,
)


def stored(payload: dict[str, Any]) -> Any:
    """The payload as the consumer keeps it; None where it refuses it, or ClickHouse does not write its numbers out."""
    try:
        return None if any(map(holds_large_float, payload.values())) else normalised(payload)
    except Rejection:
        return None


def holds_large_float(value: Any, *, in_array: bool = False) -> bool:
    """Whether an array holds, at any depth, a float of 2^63 or more: ClickHouse rounds those when it writes them."""
    if isinstance(value, list):
        return any(holds_large_float(item, in_array=True) for item in value)
    if isinstance(value, dict):
        return any(holds_large_float(item, in_array=in_array) for item in value.values())
    return in_array and isinstance(value, float) and abs(value) >= 2.0**63


def paths_in(value: Any, above: Path = ()) -> Iterator[Path]:
    """All paths that there are."""
    steps: Any = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for step in steps:
        yield (*above, step)
        yield from paths_in(value[step], (*above, step))


def some_filter(random: Random, payloads: list[dict[str, Any]], operands: list[Any]) -> dict[str, Any]:
    """A filter that has something to do with the payloads."""
    payload = random.choice(payloads)
    path: Path = random.choice([*paths_in(payload), ("a",), ("", ""), ("a", 0), ("b", "c")])
    if random.random() < 0.2:
        odd: str | int = random.choice(["a", "0", 0, 1, "", "%2E"])
        path = (*path[:-1], odd) if len(path) > 1 else (*path, odd)
    value = value_at(payload, path)
    operands = [*operands, value] if isinstance(value, bool | int | float | str) else operands
    given: dict[str, Any] = {"path": write_path(path)}
    for operator in random.sample(["eq", "ne", "gt", "gte", "lt", "lte", "in", "exists"], random.choice([1, 1, 1, 2])):
        if operator == "exists":
            given[operator] = random.choice([True, False])
        elif operator == "in":
            given[operator] = random.choices(operands, k=random.choice([0, 1, 5]))
        else:
            given[operator] = random.choice(operands[-3:])
    return given


@pytest.fixture
def both(stores: Stores) -> Stores:
    """Both stores, for all examples together."""
    return stores


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(PAYLOADS, min_size=20, max_size=60), st.lists(SCALARS, min_size=5, max_size=9), st.randoms())
def test_both_stores_find_what_the_model_finds(
    both: Stores, sent: list[dict[str, Any]], operands: list[Any], random: Random
) -> None:
    payloads = [kept for payload in sent if (kept := stored(payload)) is not None]
    ids = both.store(payloads)
    for _ in range(FILTERS_EACH):
        filters = [some_filter(random, payloads, operands) for _ in range(random.choice([1, 1, 2]))]
        asked = conditions(filters)
        expected = {
            identifier
            for identifier, payload in zip(ids, payloads, strict=True)
            if all(fulfils(payload, condition) for condition in asked)
        }
        assert both.in_postgres(asked) == expected, filters
        assert both.in_clickhouse(asked) == expected, filters
