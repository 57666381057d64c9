import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.ingest.event.storable import require_storable
from functions.ingest.formats.json_scan import is_plain

parts = st.sampled_from(
    [
        "1",
        "9",
        "0",
        "e",
        "E",
        "+",
        "-",
        ".",
        "309",
        "e309",
        "1" * 20,
        '"',
        "\\u0000",
        "a",
        ",",
        "]",
        "}",
        " ",
        "\\",
        "é",
    ]
)
numbers = st.from_regex(r"-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,3})?([eE][+-]?[0-9]{1,5})?", fullmatch=True)


@given(st.lists(numbers | parts.map(lambda part: f'"{part}"') | st.text(max_size=5).map(json.dumps), max_size=5))
def test_what_is_plain_can_be_read_and_stored(values: list[str]) -> None:
    for text in (f"[{','.join(values)}]".encode(), f"[{' , '.join(values)} ]".encode()):
        try:
            msgspec.json.decode(text, type=msgspec.Raw)
        except msgspec.DecodeError:
            continue
        if is_plain(text):
            require_storable(msgspec.json.decode(text))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ('"4d0d7a48-53e9-4b1a-a1c5-0e309c1b7e44"', True),
        ('"3e309"', True),
        ("1e39", True),
        ("1.5e-300", True),
        ("1e309", False),
        ("-1.5E+400", False),
        ("1e00001", False),
        ("123456789012345678", True),
        (str(2**64), False),
        ('"\\u0000"', False),
        ('"\\u00e9é"', True),
    ],
)
def test_most_values_are_plain(value: str, plain: bool) -> None:
    assert is_plain(f'{{"a": {value}}}'.encode()) is plain
    assert is_plain(f"[{value}]".encode()) is plain
    assert not is_plain(f'[{value}, "\xff"]'.encode("latin-1"))


def test_hexadecimal_ids_are_plain() -> None:
    assert is_plain(b'["%b"]' % b"-".join(b"%03de%03d" % (number, number) for number in range(1000)))
