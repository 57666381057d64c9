import json
import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.ingest.event.storable import normalised, refuse_unstorable
from functions.ingest.payload_encoder import encode_payload, plainly_encoded
from functions.shared.catalog.payload import Payload, converted, converter
from functions.shared.catalog.payload_type import key_types
from functions.shared.catalog.source import Source, source
from functions.shared.rejection import Rejection


class Job(Payload):
    id: int
    name: str | None = None


class Everything(Payload):
    text: str | None = None
    number: int | None = None
    share: float | None = None
    flag: bool | None = None
    moment: datetime | None = None
    tags: list[str] | None = None
    job: Job | None = None
    jobs: list[Job] | None = None


CONVERTERS = {key: converter(kept) for key, kept in key_types(Everything).items()}


@pytest.mark.parametrize(
    ("key", "written", "kept"),
    [
        ("text", "18", "18"),
        ("number", 18, 18),
        ("number", "18", 18),
        ("number", 18.0, 18),
        ("number", "-3", -3),
        ("share", 1, 1.0),
        ("share", "0.5", 0.5),
        ("flag", "true", True),
        ("flag", 0, False),
        ("moment", "2026-11-20", "2026-11-20T00:00:00Z"),
        ("moment", datetime(2026, 11, 20, tzinfo=UTC), "2026-11-20T00:00:00Z"),
        ("tags", ["a"], ["a"]),
        ("job", {"id": "4", "other": "5"}, {"id": 4, "other": "5"}),
        ("jobs", [{"id": "4"}], [{"id": 4}]),
        ("unnamed", "18", "18"),
        ("number", None, None),
    ],
)
def test_a_value_gets_its_keys_type_where_nothing_is_lost(key: str, written: Any, kept: Any) -> None:
    result = converted({key: written}, CONVERTERS)
    assert result == {key: kept}
    assert type(result[key]) is type(kept)


@pytest.mark.parametrize(
    ("key", "written"),
    [
        ("text", 18),
        ("text", ["a"]),
        ("number", "eighteen"),
        ("number", 18.5),
        ("number", True),
        ("number", [18]),
        ("share", "half"),
        ("share", 2**63 + 1),
        ("share", "nan"),
        ("share", "1e999"),
        ("flag", "perhaps"),
        ("flag", 2),
        ("moment", "soon"),
        ("tags", "a"),
        ("tags", [1]),
        ("job", 4),
        ("job", {"id": "four"}),
        ("jobs", [{"id": "four"}]),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_key(key: str, written: Any) -> None:
    with pytest.raises(ValueError, match=f"^{key}: "):
        converted({key: written}, CONVERTERS)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"a": None, "b": 1}, {"b": 1}),
        ({"a": {}, "b": {"c": {"d": None}}}, {}),
        ({"a": [None, 1, {}, {"b": None}]}, {"a": [None, 1, {}, {}]}),
        ({"a": [], "b": "", "c": 0, "d": False}, {"a": [], "b": "", "c": 0, "d": False}),
        ({"a": 2**64 - 1, "b": -(2**63), "c": 1.5}, {"a": 2**64 - 1, "b": -(2**63), "c": 1.5}),
    ],
)
def test_nulls_and_empty_objects_are_dropped_at_any_depth(value: Any, kept: Any) -> None:
    assert normalised(value) == kept


def nested(levels: int) -> Any:
    return {"a": nested(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"a": "nul\0"}, "invalid_text"),
        ({"a": [{"b": "nul\0"}]}, "invalid_text"),
        ({"a": 2**64}, "number_out_of_range"),
        ({"a": -(2**63) - 1}, "number_out_of_range"),
        ({"a": math.inf}, "number_out_of_range"),
        ({"a": math.nan}, "number_out_of_range"),
        ({"a": [0.5, 2**53 + 1]}, "number_out_of_range"),
        ({"a%2Eb": 1}, "invalid_key"),
        ({"a\0": 1}, "invalid_key"),
        ({1: 1}, "not_json"),
        ({"a": datetime(2026, 1, 1, tzinfo=UTC)}, "not_json"),
        ({"a": {1, 2}}, "not_json"),
        (nested(65), "too_deep"),
    ],
)
def test_what_a_store_can_not_keep_is_rejected(value: Any, code: str) -> None:
    with pytest.raises(Rejection) as rejected:
        normalised(value)
    assert rejected.value.code == code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)


def unstorable(value: Any) -> bool:
    if isinstance(value, dict):
        return any(unstorable(part) for item in value.items() for part in item)
    if isinstance(value, list):
        return any(map(unstorable, value))
    if isinstance(value, str):
        return "\0" in value
    return type(value) is int and not -(2**63) <= value < 2**64


@given(st.dictionaries(st.text(), JSON))
def test_the_quick_look_at_the_text_misses_nothing_that_can_not_be_stored(value: dict[str, Any]) -> None:
    raw = msgspec.Raw(msgspec.json.encode(value))
    try:
        refuse_unstorable(raw, value)
    except Rejection:
        assert unstorable(value)
    else:
        assert not unstorable(value)


class Plain(Payload):
    text: str | None = None
    number: int | None = None
    flag: bool | None = None
    other: str = "default"


class Strict(Payload):
    number: int
    moment: datetime | None = None


class StrictAboutMore(Payload):
    share: float


class Checked(Payload):
    number: int | None = None

    def __post_init__(self) -> None:
        if self.number == 0:
            raise ValueError("zero")


class Text(str):
    __slots__ = ()


class Number(int):
    pass


def encoded_the_longer_way(payload: dict[str, Any], payload_class: type[Payload]) -> bytes:
    converters = {key: converter(kept) for key, kept in key_types(payload_class).items()}
    kept = normalised(converted(payload, converters))
    msgspec.convert(kept, payload_class)
    return encode_payload(kept)


PLAIN_VALUES = (
    st.none() | st.booleans() | st.integers() | st.text() | st.floats() | st.sampled_from(["18", "\0", "\\u0000"])
)
KEYS = st.sampled_from(["text", "number", "flag", "other", "moment", "share", "timestamp", "unknown"])


@given(
    st.dictionaries(KEYS, PLAIN_VALUES | st.integers(-(2**65), 2**65), max_size=4),
    st.sampled_from([Plain, Strict, StrictAboutMore, Everything]),
)
def test_what_is_plainly_encoded_is_what_the_longer_way_comes_to(
    payload: dict[str, Any], payload_class: type[Payload]
) -> None:
    encoded = plainly_encoded(payload, payload_class)
    if encoded is not None:
        longer = encoded_the_longer_way(payload, payload_class)
        assert len(encoded) == len(longer)
        assert msgspec.json.decode(encoded) == msgspec.json.decode(longer)


@pytest.mark.parametrize(
    ("payload", "payload_class", "encoded"),
    [
        (
            {"text": 'a "quoted" word', "number": None, "flag": True},
            Plain,
            b'{"text":"a \\"quoted\\" word","flag":true}',
        ),
        ({"other": "default"}, Plain, b'{"other":"default"}'),
        ({"number": 2**63 - 1}, Strict, b'{"number":9223372036854775807}'),
        ({}, None, b"{}"),
        ({"number": 2**64}, Plain, None),
        ({"number": "18"}, Plain, None),
        ({"text": "nul\0"}, Plain, None),
        ({"text": "\ud800"}, Plain, None),
        ({"unknown": 1}, Plain, None),
        ({"number": None}, Strict, None),
        ({"share": 0.5}, StrictAboutMore, None),
        ({"number": 1}, None, None),
        ({"text": "x" * 16384}, Plain, None),
        ({"number": 1}, Checked, None),
        ({"text": Text("a")}, Plain, None),
        ({"number": Number(1)}, Plain, None),
    ],
)
def test_a_payload_is_plain_where_its_values_are_of_their_keys_types(
    payload: dict[str, Any], payload_class: type[Payload] | None, encoded: bytes | None
) -> None:
    assert plainly_encoded(payload, payload_class) == encoded


@given(st.recursive(st.floats(allow_nan=False, allow_infinity=False), st.lists) | JSON)
def test_a_float_stays_the_same_and_is_never_written_as_a_large_integer(value: Any) -> None:
    encoded = encode_payload({"a": value, "b": [value], "c": {"d": value}})
    assert json.loads(encoded) == {"a": value, "b": [value], "c": {"d": value}}
    assert b"e+" not in encode_payload({"a": 1e300})


def test_a_float_beyond_64_bits_is_written_with_a_fraction() -> None:
    assert (
        encode_payload({"x": 1e20, "y": [-(2.0**63)]}) == b'{"x":100000000000000000000.0,"y":[-9223372036854775808.0]}'
    )


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ([None], "invalid_array"),
        ([[None]], "invalid_array"),
        ([None, [1]], "invalid_array"),
        ([None, {"a": 1}], "invalid_array"),
        ([{"a": [None, None]}], "invalid_array"),
        ([1.5, 2**53 + 1], "number_out_of_range"),
        ([[1.5], [2**53 + 1]], "number_out_of_range"),
        ([{"a": [1.5]}, {"b": {"a": [-(2**53) - 1]}}], "number_out_of_range"),
    ],
)
def test_an_array_that_clickhouse_would_alter_is_refused(value: Any, code: str) -> None:
    with pytest.raises(Rejection) as rejection:
        normalised({"key": value})
    assert rejection.value.code == code


@pytest.mark.parametrize(
    "value",
    [
        [None, 1],
        [None, "", [None, False]],
        [],
        [[]],
        [{}],
        [2**53 + 1, 2**63],
        [1.5, 2**53],
        [{"a": 1.5}, {"a": 2**53 + 1}],
    ],
)
def test_an_array_that_both_stores_keep_stays_as_it_is(value: Any) -> None:
    assert normalised({"key": value}) == {"key": value}


class Sourced(Payload):
    plain: int | None = None
    value: int | None = source("number")
    job: int = source("job", "id")
    untyped: "str | None" = source("label")


class Renamed(Sourced, rename="camel"):
    own_key: str | None = source("own")


def test_a_key_gets_its_value_from_its_source_or_from_the_key_of_its_name() -> None:
    assert Sourced.sources() == {
        "plain": Source(("plain",)),
        "value": Source(("number",)),
        "job": Source(("job", "id")),
        "untyped": Source(("label",)),
    }
    assert Renamed.declared_sources().keys() == {"value", "job", "untyped", "ownKey"}
    assert Sourced(job=1).value is None


def test_a_key_with_a_source_is_required_unless_it_may_be_none() -> None:
    required = {field.name for field in msgspec.structs.fields(Sourced) if field.required}
    assert required == {"job"}


@pytest.mark.parametrize("path", [(), ("",), (1,)])
def test_a_source_names_the_keys_that_lead_to_the_value(path: Any) -> None:
    with pytest.raises(TypeError, match="source needs the keys"):
        source(*path)


def test_the_keys_of_a_nested_class_have_no_source() -> None:
    class Outer(Payload):
        inner: Sourced

    with pytest.raises(TypeError, match="Sourced is a part of a payload"):
        key_types(Outer)
