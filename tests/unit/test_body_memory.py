"""A small body takes little memory, however large it is uncompressed."""

import base64
import gzip
import tracemalloc

import pytest

from functions.ingest.contract import MAX_EVENTS
from functions.ingest.formats import gitlab
from functions.ingest.formats.compression import MAX_UNPACKED_BYTES, TooLarge
from functions.ingest.formats.table import events_in
from functions.ingest.message.batch import read_batch
from functions.ingest.request import Request
from functions.shared.rejection import Rejection
from tests.support.clock import NOW

MAX_MEMORY_BYTES = 100 * 1024 * 1024  # five times the largest body

ELEMENTS = MAX_UNPACKED_BYTES // 2 - 100


def packed(body: bytes) -> bytes:
    return base64.b64encode(gzip.compress(body, 1))


def array(element: bytes = b"0", count: int = ELEMENTS) -> bytes:
    return b"[" + b",".join([element] * count) + b"]"


@pytest.fixture(autouse=True)
def memory() -> object:
    """Measures the peak memory of the test."""
    tracemalloc.start()
    yield tracemalloc
    tracemalloc.stop()


def peak() -> int:
    return tracemalloc.get_traced_memory()[1]


def test_a_body_of_ten_million_elements_is_refused_without_the_memory_for_them() -> None:
    body = packed(array())
    tracemalloc.reset_peak()
    with pytest.raises(TooLarge, match="more than 10000 events"):
        events_in(body)
    assert peak() < MAX_MEMORY_BYTES


def test_a_message_of_ten_million_elements_is_refused_without_the_memory_for_them() -> None:
    body = packed(array())
    tracemalloc.reset_peak()
    batch = read_batch(body, "message", NOW)
    assert [rejection.code for rejection in batch.refused.values()] == ["too_large"]
    assert peak() < MAX_MEMORY_BYTES


def test_gitlabs_endpoint_refuses_ten_million_elements_without_much_memory() -> None:
    text = packed(b'{"a": [1], "events": %b}' % array(count=ELEMENTS - 20)).decode()
    tracemalloc.reset_peak()
    with pytest.raises(TooLarge, match="more than 10000 events"):
        gitlab.tracked_events(Request(gitlab.TRACK_EVENTS_PATH, {}, text, is_base64=False))
    assert peak() < MAX_MEMORY_BYTES


@pytest.mark.parametrize("inner", [b"{}", b"[]", b'{"":[]}'])
def test_an_event_that_holds_millions_of_values_takes_no_memory_for_them(inner: bytes) -> None:
    body = packed(array(array(inner, (MAX_UNPACKED_BYTES - 100) // (len(inner) + 1)), 1))
    tracemalloc.reset_peak()
    assert len(events_in(body).raw) == 1
    assert peak() < MAX_MEMORY_BYTES


def test_what_is_no_json_takes_no_memory_for_its_millions_of_values() -> None:
    body = packed(array(array(b"{}", 6_000_000), 1)[:-1])
    tracemalloc.reset_peak()
    with pytest.raises(TooLarge, match="more than 1000000 commas, and is not JSON"):
        events_in(body)
    assert peak() < MAX_MEMORY_BYTES


def test_an_array_with_half_a_surrogate_pair_takes_no_memory_for_millions_of_values() -> None:
    body = packed(array(array(b"{}", 6_000_000), 1)[:-1] + b',"\\ud800"]')
    tracemalloc.reset_peak()
    assert len(events_in(body).raw) == 2
    assert peak() < MAX_MEMORY_BYTES


def test_gitlabs_endpoint_refuses_millions_of_values_with_a_lone_surrogate_cheaply() -> None:
    text = packed(b'{"events": %b, "a": "\\ud800"}' % array(b"{}", 6_000_000)).decode()
    tracemalloc.reset_peak()
    with pytest.raises((TooLarge, Rejection)):
        gitlab.tracked_events(Request(gitlab.TRACK_EVENTS_PATH, {}, text, is_base64=False))
    assert peak() < MAX_MEMORY_BYTES


@pytest.mark.parametrize("space", [b"", b" \n"])
def test_as_many_events_as_are_allowed_may_have_many_commas(space: bytes) -> None:
    event = space + b'{"event": "a", "more": [%b]}' % b",".join([b"0"] * 120) + space
    assert len(events_in(array(event, MAX_EVENTS)).raw) == MAX_EVENTS
    with pytest.raises(TooLarge, match="more than 10000 events"):
        events_in(array(event, MAX_EVENTS + 1))
