"""Valid and malformed gzip bodies."""

import gzip
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.ingest.formats.compression import MAX_UNPACKED_BYTES, TooLarge, unpacked
from functions.shared.rejection import Rejection

EMPTY = gzip.compress(b"")


@given(sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=6), padding=st.integers(0, 9000))
def test_gzip_holds_what_its_members_hold_however_they_are_padded(sizes: list[int], padding: int) -> None:
    parts = [Random(size).randbytes(size) for size in sizes]  # which gzip can't make smaller
    packed = b"".join(gzip.compress(part) + b"\0" * padding for part in parts)
    assert unpacked(packed) == b"".join(parts)


@given(size=st.integers(0, 9000), cut=st.integers(1, 9000))
def test_gzip_whose_last_member_is_not_whole_is_refused(size: int, cut: int) -> None:
    last = gzip.compress(Random(size).randbytes(size))
    with pytest.raises(Rejection, match="cut off"):
        unpacked(EMPTY + last[: -min(cut, len(last) - 1)])


def test_gzip_of_very_many_members_takes_no_longer_than_its_bytes_do() -> None:
    members = EMPTY * 300_000  # which would take minutes, if each was looked for in a copy of what is left
    assert unpacked(members + gzip.compress(b"[]")) == b"[]"
    with pytest.raises(TooLarge):
        unpacked(members + gzip.compress(b" " * (MAX_UNPACKED_BYTES + 1)))
