import gc
import logging
import math
import signal
import socket
import threading
import time
from asyncio import CancelledError
from collections import Counter, OrderedDict, UserDict
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType, SimpleNamespace
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.ingest.contract import MAX_EVENT_BYTES
from functions.ingest.publisher import HttpsDestination, Limits, Publisher, Stats
from functions.ingest.publisher.backlog import Backlog
from functions.shared.identifier import time_of
from functions.shared.timestamp import parse_timestamp
from tests.support.faulty_api import PASSING_FAULTS, TOKEN, WAIT_SECONDS, FaultyApi, serve

JOB = {"id": 1, "project_id": 4, "pipeline": {"id": 1}}
TAGGED = {"id": 1, "tags": [{"a": None}]}
LONG = 30.0  # that a test waits at most, on a machine that has other things to do
IMPATIENT = Limits(batch_seconds=LONG, first_pause_seconds=0.01)


@pytest.fixture
def api() -> Iterator[FaultyApi]:
    with serve() as api:
        yield api


@pytest.fixture
def publisher(api: FaultyApi) -> Iterator[Publisher]:
    with publisher_to(api) as made:
        yield made


def publisher_to(api: FaultyApi, limits: Limits = IMPATIENT, timeout_seconds: float = LONG) -> Publisher:
    return Publisher(HttpsDestination(api.url, TOKEN, timeout_seconds), limits)


def sent_by(publisher: Publisher, api: FaultyApi) -> list[dict[str, Any]]:
    """Waits until the publisher has sent everything, and returns the events of all requests."""
    assert publisher.flush(LONG)
    return [event for body in api.bodies for event in body]


class Lazy(Mapping[str, Any]):
    """A mapping that looks up keys lazily, and raises in the method that `failing` names."""

    def __init__(self, failing: str, **content: Any) -> None:
        self.failing, self.content = failing, content

    def __getitem__(self, key: str) -> Any:
        self.fail("__getitem__")
        return self.content[key]

    def __iter__(self) -> Iterator[str]:
        self.fail("__iter__")
        return iter(self.content)

    def __len__(self) -> int:
        self.fail("__len__")
        return len(self.content)

    def keys(self) -> KeysView[str]:
        self.fail("keys")
        return super().keys()

    def items(self) -> ItemsView[str, Any]:
        self.fail("items")
        return super().items()

    def fail(self, method: str) -> None:
        if method == self.failing:
            raise OSError("the database is gone")


@dataclass
class User:
    id: int
    username: str


@pytest.mark.parametrize(
    ("attributes", "written"),
    [
        ({"user": 1}, {"user": {"id": 1}}),
        ({"user": {"id": 1, "username": "root"}}, {"user": {"id": 1, "username": "root"}}),
        ({"user": User(1, "root")}, {"user": {"id": 1, "username": "root"}}),
        ({"user": SimpleNamespace(id=1, password="no")}, {"user": {"id": 1}}),
        ({"project": 4}, {"project": {"id": 4}}),
        ({"project": "4"}, {"project": {"id": "4"}}),
        (
            {"project": SimpleNamespace(id=4, full_path="a/b", namespace=SimpleNamespace(path="27/"))},
            {"project": {"id": 4, "full_path": "a/b", "namespace": {"path": "27/"}}},
        ),
        ({"project": {"id": 4, "namespace": "27/"}}, {"project": {"id": 4, "namespace": {"path": "27/"}}}),
        ({"namespace": 28}, {"namespace": {"id": 28}}),
        ({"namespace": "27/28/"}, {"namespace": {"path": "27/28/"}}),
        ({"namespace": {"path": "27/", "full_path": "a"}}, {"namespace": {"path": "27/", "full_path": "a"}}),
        ({"additional_properties": {"language": "ruby"}}, {"additional_properties": {"language": "ruby"}}),
        ({"job": JOB, "self": 1, "event": "x", "nothing": None}, {"job": JOB, "self": 1}),
        *(
            ({"user": like(id=1), "jobs": [like(id=1, tags=(like(a=None),))]}, {"user": {"id": 1}, "jobs": [TAGGED]})
            for like in (
                OrderedDict,
                UserDict,
                partial(Lazy, ""),
                partial(Lazy, "items"),  # which is not needed
                partial(Lazy, "__len__"),
                lambda **content: MappingProxyType(content),
            )
        ),
        (
            {"project": UserDict(id=4, namespace="27/"), "namespace": MappingProxyType({"id": 28})},
            {"project": {"id": 4, "namespace": {"path": "27/"}}, "namespace": {"id": 28}},
        ),
        ({"additional_properties": UserDict(a=[UserDict()])}, {"additional_properties": {"a": [{}]}}),
    ],
)
def test_users_projects_and_namespaces_are_ids_mappings_or_objects(
    attributes: dict[str, Any], written: dict[str, Any], publisher: Publisher, api: FaultyApi
) -> None:
    publisher.track_event("troubleshoot_job", **attributes)
    (event,) = sent_by(publisher, api)
    assert event == {"event": "troubleshoot_job", "id": event["id"], "timestamp": event["timestamp"]} | written
    assert publisher.stats() == Stats(accepted=1)


def test_id_and_time_are_made_at_the_call(publisher: Publisher, api: FaultyApi) -> None:
    before = datetime.now(UTC)
    publisher.track_event("troubleshoot_job")
    after = datetime.now(UTC)
    time.sleep(0.05)
    (event,) = sent_by(publisher, api)
    assert before <= parse_timestamp(event["timestamp"]) <= after
    assert_its_id_has_its_time(event)


def test_id_and_time_are_of_one_millisecond_also_right_before_the_next(
    publisher: Publisher, api: FaultyApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_the_next = time.time_ns() // 1_000_000 * 1_000_000 - 1
    clock = SimpleNamespace(time_ns=lambda: before_the_next)
    monkeypatch.setattr("functions.ingest.publisher.tracked_event.time", clock)
    publisher.track_event("troubleshoot_job")
    (event,) = sent_by(publisher, api)
    assert_its_id_has_its_time(event)


def assert_its_id_has_its_time(event: dict[str, Any]) -> None:
    moment = parse_timestamp(event["timestamp"])
    assert time_of(UUID(event["id"])) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def test_an_id_and_a_time_of_the_callers_own_are_kept(publisher: Publisher, api: FaultyApi) -> None:
    own_id, own_time = "4d0d7a48-53e9-4b1a-a1c5-0d2f5c1b7e44", datetime.now(UTC) - timedelta(days=1)
    publisher.track_event("troubleshoot_job", id=own_id, timestamp=own_time)
    publisher.track_event("troubleshoot_job", additional_properties={"timestamp": "2026-11-20 12:55:11 UTC"})
    first, second = sent_by(publisher, api)
    assert (first["id"], parse_timestamp(first["timestamp"])) == (own_id, own_time)
    assert "timestamp" not in second


def test_what_the_caller_changes_afterwards_does_not_change_the_event(publisher: Publisher, api: FaultyApi) -> None:
    job = {"id": 1, "tags": ["a"]}
    publisher.track_event("troubleshoot_job", job=job)
    job["id"] = 2
    job["tags"].append("b")  # type: ignore[attr-defined]
    assert sent_by(publisher, api)[0]["job"] == {"id": 1, "tags": ["a"]}


class Unreadable:
    @property
    def id(self) -> int:
        raise OSError("the database is gone")


def _endless() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


@pytest.mark.parametrize(
    "attributes",
    [
        {"job": object()},
        {"job": {"size": math.nan}},
        {"job": [math.inf]},
        {"text": "\ud83d"},
        {"user": Unreadable()},
        {"job": _endless()},
        {"job": {("a", "b"): 1}},
        *(
            {attribute: wrapped(Lazy(failing, id=1, timestamp=1))}
            for failing in ("__getitem__", "__iter__", "keys")
            for attribute, wrapped in (
                ("user", lambda mapping: mapping),
                ("project", lambda mapping: mapping),
                ("project", lambda mapping: {"id": 4, "namespace": mapping}),
                ("namespace", lambda mapping: mapping),
                ("additional_properties", lambda mapping: mapping),
                ("jobs", lambda mapping: [mapping]),
                ("id", lambda mapping: mapping),
            )
        ),
    ],
)
def test_what_is_no_json_is_counted_and_never_raised(
    attributes: dict[str, Any], publisher: Publisher, api: FaultyApi
) -> None:
    publisher.track_event("troubleshoot_job", **attributes)
    assert publisher.stats() == Stats(rejected=1, reasons={"not_json": 1})
    publisher.track_event("troubleshoot_job", job={"nothing": None})
    assert len(sent_by(publisher, api)) == 1


def test_an_event_that_no_store_would_take_for_its_size_is_not_sent(publisher: Publisher, api: FaultyApi) -> None:
    publisher.track_event("troubleshoot_job", text="x" * MAX_EVENT_BYTES)
    assert publisher.stats() == Stats(rejected=1, reasons={"too_large": 1})
    assert sent_by(publisher, api) == []


def test_events_are_sent_together_up_to_a_number_and_a_size(publisher: Publisher, api: FaultyApi) -> None:
    for _ in range(2_500):
        publisher.track_event("troubleshoot_job")
    sent_by(publisher, api)
    assert max(map(len, api.bodies)) <= 1_000
    assert len(api.bodies) <= 4
    assert publisher.stats() == Stats(accepted=2_500)
    api.fail([])
    for _ in range(100):
        publisher.track_event("troubleshoot_job", text="x" * 50_000)
    sent_by(publisher, api)
    assert len(api.accepted) == 100
    assert 5 <= len(api.bodies) <= 8
    assert all(len(msgspec.json.encode(body)) <= 1024 * 1024 for body in api.bodies)


def test_an_event_does_not_wait_long_for_others(api: FaultyApi) -> None:
    with publisher_to(api, Limits(batch_seconds=0.1)) as publisher:
        publisher.track_event("troubleshoot_job")
        assert_soon(lambda: publisher.stats() == Stats(accepted=1))


def assert_soon(is_so: Callable[[], bool]) -> None:
    give_up = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_what_became_of_each_event_is_counted(publisher: Publisher, api: FaultyApi) -> None:
    publisher.track_event("troubleshoot_job")
    publisher.track_event("of_another_tracker", additional_properties={})
    publisher.track_event("no_such_event")
    publisher.track_event("troubleshoot_job", user=-1)
    assert publisher.flush(LONG)
    assert publisher.stats() == Stats(
        accepted=1, ignored=1, rejected=2, reasons={"unknown_event": 1, "invalid_user": 1}
    )
    publisher.track_event("no_such_event")
    assert publisher.flush(LONG)
    assert publisher.stats().rejected == 3
    assert len(api.bodies) == 2


def test_only_what_the_queue_did_not_take_is_sent_again(publisher: Publisher, api: FaultyApi) -> None:
    api.fail(["partly queued"])
    for number in range(10):
        publisher.track_event("troubleshoot_job", number=number, text="x" * 40_000)
    first, second, *others = _bodies(publisher, api)
    assert (len(first), others) == (10, [])
    assert second == first[-len(second) :]
    assert publisher.stats() == Stats(accepted=10)
    assert Counter(api.accepted) == Counter(event["id"] for event in first)


def _bodies(publisher: Publisher, api: FaultyApi) -> list[list[dict[str, Any]]]:
    assert publisher.flush(LONG)
    return api.bodies


@pytest.mark.parametrize("fault", PASSING_FAULTS)
def test_what_fails_is_sent_again_as_the_same_events(fault: str, api: FaultyApi) -> None:
    api.fail([fault, fault])
    with publisher_to(api, timeout_seconds=0.2) as publisher:
        for _ in range(3):
            publisher.track_event("troubleshoot_job", job=JOB)
        sent_by(publisher, api)
        assert publisher.stats() == Stats(accepted=3)
    assert len(set(api.accepted)) == 3
    assert all(len(ways) == 1 for ways in api.written.values())


def test_as_long_as_the_server_asks_for_it_is_left_alone(publisher: Publisher, api: FaultyApi) -> None:
    api.fail(["asks to wait"])
    publisher.track_event("troubleshoot_job")
    began = time.monotonic()
    sent_by(publisher, api)
    assert time.monotonic() - began >= WAIT_SECONDS


@pytest.mark.parametrize("asked", ["31536000", "1e300", "inf", "nan", "-1", "soon", "Thu, 26 Nov 2099 00:00:00 GMT"])
def test_it_is_left_alone_no_longer_than_the_longest_pause(asked: str, api: FaultyApi) -> None:
    api.fail([f"503 {asked}"])
    with publisher_to(api, Limits(first_pause_seconds=0.01, longest_pause_seconds=0.01)) as publisher:
        publisher.track_event("troubleshoot_job")
        assert publisher.flush(LONG)
        assert publisher.stats() == Stats(accepted=1)


def test_certificates_that_can_not_be_read_are_no_error_of_the_callers(
    api: FaultyApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("http.client.HTTPSConnection", _fail)
    destination = HttpsDestination(api.url.replace("http://", "https://"), TOKEN)
    with Publisher(destination, Limits(give_up_seconds=0, first_pause_seconds=0.01)) as publisher:
        publisher.track_event("troubleshoot_job")
        assert publisher.flush(LONG)
        assert publisher.stats() == Stats(lost=1, reasons={"failed": 1})


def _fail(*_: Any, **__: Any) -> None:
    raise FileNotFoundError("cert.pem")


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_without_access_a_batch_is_given_up_after_a_few_attempts(
    status: str, publisher: Publisher, api: FaultyApi
) -> None:
    api.fail([status] * 3)
    publisher.track_event("troubleshoot_job")
    assert publisher.flush(LONG)
    assert publisher.stats() == Stats(lost=1, reasons={f"http_{status}": 1})
    assert (len(api.tokens), api.bodies) == (3, [])
    publisher.track_event("troubleshoot_job")
    assert publisher.flush(LONG)
    assert publisher.stats().accepted == 1


@pytest.mark.parametrize("status", ["413", "400"])
def test_what_is_not_taken_together_is_sent_in_halves(status: str, publisher: Publisher, api: FaultyApi) -> None:
    api.fail([status, status, "", status, "", status])
    for number in range(8):
        publisher.track_event("troubleshoot_job", number=number)
    # 8 and 4 of them are refused, 2 taken, 2 refused, 1 taken and 1 refused; the other 4 are taken.
    sizes = list(map(len, _bodies(publisher, api)))
    assert sizes == [2, 1, 4]
    assert publisher.stats() == Stats(accepted=7, rejected=1, reasons={f"http_{status}": 1})


def test_what_does_not_arrive_in_time_is_given_up_and_what_comes_later_is_sent(api: FaultyApi) -> None:
    api.fail(["500"] * 3)
    with publisher_to(api, Limits(give_up_seconds=0, first_pause_seconds=0.01)) as publisher:
        publisher.track_event("troubleshoot_job")
        assert publisher.flush(LONG)
        assert publisher.stats() == Stats(lost=1, reasons={"http_500": 1})
        publisher.track_event("troubleshoot_job")
        assert publisher.flush(LONG)
        assert publisher.stats().accepted == 1


def test_what_finds_no_room_is_lost_and_what_found_some_is_sent(api: FaultyApi) -> None:
    api.fail(["hangs"] * 1_000)  # nothing gets through, however long this takes
    with publisher_to(api, Limits(buffer_bytes=10_000, first_pause_seconds=0.01)) as publisher:
        for number in range(1_000):
            publisher.track_event("troubleshoot_job", number=number)
            if number == 50:
                publisher.flush(0)
                assert_soon(lambda: bool(api.tokens))  # they are on their way, and take room all the same
        stats = publisher.stats()
        assert stats.waiting < 10_000 / 80
        assert stats.reasons == {"buffer_full": stats.lost}
        assert stats.lost > 900
        api.fail([])
        numbers = [event["number"] for event in sent_by(publisher, api)]
        assert numbers == list(range(publisher.stats().accepted))
        assert len(numbers) + stats.lost == 1_000
        publisher.track_event("troubleshoot_job")
        assert publisher.flush(LONG)
        assert publisher.stats().accepted == len(numbers) + 1


def test_a_server_that_does_not_answer_holds_nobody_up(api: FaultyApi) -> None:
    api.fail(["hangs"] * 1_000)
    publisher = publisher_to(api)
    for _ in range(5_000):
        publisher.track_event("troubleshoot_job", job=JOB)
    assert not publisher.flush(0.1)
    assert not publisher.close(0.1)
    assert publisher.stats().waiting == 5_000
    api.fail([])
    assert publisher.flush(LONG)
    assert publisher.stats() == Stats(accepted=5_000)


def test_nothing_listens() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # so that nobody else listens there
        destination = HttpsDestination(f"http://127.0.0.1:{silent.getsockname()[1]}", TOKEN)
        with Publisher(destination, Limits(give_up_seconds=0, first_pause_seconds=0.01)) as publisher:
            publisher.track_event("troubleshoot_job")
            assert publisher.flush(LONG)
            assert publisher.stats() == Stats(lost=1, reasons={"unreachable": 1})


def test_where_no_thread_is_to_be_had_the_next_event_may_find_one(
    publisher: Publisher, api: FaultyApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as starved:
        starved.setattr(threading.Thread, "start", start)
        publisher.track_event("troubleshoot_job", number=0)
    publisher.track_event("troubleshoot_job", number=1)
    assert [event["number"] for event in sent_by(publisher, api)] == [0, 1]


def test_publishers_that_are_gone_leave_no_threads(api: FaultyApi) -> None:
    before = set(threading.enumerate())
    api.fail(["500"])
    for number in range(50):
        publisher_to(api).track_event("troubleshoot_job", number=number)
    assert_soon(lambda: set(threading.enumerate()) <= before)
    assert sorted(event["number"] for body in api.bodies for event in body) == list(range(50))


def test_after_the_end_events_are_counted_as_lost(publisher: Publisher, api: FaultyApi) -> None:
    publisher.track_event("troubleshoot_job")
    assert publisher.close(LONG)
    publisher.track_event("troubleshoot_job")
    assert publisher.stats() == Stats(accepted=1, lost=1, reasons={"closed": 1})


@pytest.mark.parametrize(
    "failing",
    [OSError("the issuer is gone"), SystemExit(1), CancelledError(), "no\nheader", "no header: \N{SNOWMAN}"],
    ids=repr,
)
def test_a_token_is_asked_for_before_each_request_and_may_fail(failing: BaseException | str, api: FaultyApi) -> None:
    tokens = iter(["first", failing, "second"])

    def token() -> str:
        given = next(tokens)
        if isinstance(given, BaseException):
            raise given
        return given

    with Publisher(HttpsDestination(api.url, token), IMPATIENT) as publisher:
        for _ in range(2):
            publisher.track_event("troubleshoot_job")
            assert publisher.flush(LONG)
        assert publisher.stats() == Stats(accepted=2)
    assert api.tokens == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("url", ["events.example.com", "ftp://events.example.com", "https://", "https://host:port"])
def test_a_url_that_can_not_be_one_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        HttpsDestination(url, TOKEN)


@pytest.mark.parametrize("token", ["", "a\nb", "ä"])
def test_a_token_that_can_not_be_one_is_refused_at_once_and_never_shown(token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        HttpsDestination("https://events.example.com", token)
    assert TOKEN not in repr(HttpsDestination("https://events.example.com", TOKEN))


@pytest.mark.parametrize(
    "limit",
    [{"batch_events": 0}, {"batch_events": 10_001}, {"give_up_seconds": -1}, {"batch_seconds": math.nan}],
)
def test_limits_that_make_no_sense_are_refused(limit: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(limit))):
        Limits(**limit)


def test_what_is_without_limit_is_waited_for_without_end(api: FaultyApi) -> None:
    api.fail(["503 1e300"])
    limits = Limits(batch_seconds=math.inf, longest_pause_seconds=math.inf, give_up_seconds=math.inf)
    with publisher_to(api, limits) as publisher:
        publisher.track_event("troubleshoot_job")
        assert not publisher.flush(0.1)
        assert_soon(lambda: bool(api.tokens))
        assert publisher.flush(math.inf)
        assert publisher.stats() == Stats(accepted=1)


def test_a_connection_is_kept_and_made_anew_without_a_failure(
    publisher: Publisher, api: FaultyApi, caplog: pytest.LogCaptureFixture
) -> None:
    api.fail(["", "", "closes afterwards"])
    for _ in range(5):
        publisher.track_event("troubleshoot_job")
        assert publisher.flush(LONG)
        time.sleep(0.02)
    assert publisher.stats() == Stats(accepted=5)
    assert api.connections == 2
    assert caplog.records == []


def test_threads_track_events_together(publisher: Publisher, api: FaultyApi) -> None:
    def track(thread: int) -> None:
        for number in range(500):
            publisher.track_event("troubleshoot_job", thread=thread, number=number)

    threads = [threading.Thread(target=track, args=[thread]) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(event["thread"], event["number"]) for event in sent_by(publisher, api)} == {
        (thread, number) for thread in range(4) for number in range(500)
    }
    assert publisher.stats() == Stats(accepted=2_000)


class Farewell:
    """An object whose finalizer tracks two events, one of which is rejected at once."""

    def __init__(self, publisher: Publisher, said: list[None]) -> None:
        self.publisher, self.said, self.itself = publisher, said, self

    def __del__(self) -> None:
        self.publisher.track_event("troubleshoot_job", by="finalizer")
        self.publisher.track_event("troubleshoot_job", by=object())
        self.said.append(None)


def test_signals_and_finalizers_may_track_events_while_others_are_tracked(publisher: Publisher, api: FaultyApi) -> None:
    handled = 0
    said: list[None] = []

    def handle(*_: Any) -> None:
        nonlocal handled
        handled += 1
        publisher.track_event("troubleshoot_job", by="signal")

    def are_all_gone() -> bool:
        gc.collect()  # does nothing while another thread collects garbage, and runs finalizers
        return len(said) == 2_000

    thresholds, before = gc.get_threshold(), signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        gc.set_threshold(5)
        for number in range(2_000):
            Farewell(publisher, said)
            publisher.track_event("troubleshoot_job", number=number)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.set_threshold(*thresholds)
    assert_soon(are_all_gone)
    assert len(sent_by(publisher, api)) == 4_000 + handled
    assert publisher.stats() == Stats(accepted=4_000 + handled, rejected=2_000, reasons={"not_json": 2_000})


def test_troubles_are_logged_once_in_a_while(
    publisher: Publisher, api: FaultyApi, caplog: pytest.LogCaptureFixture
) -> None:
    api.fail(["500"] * 5)
    for _ in range(50):
        publisher.track_event("no_such_event", text="secret")
        publisher.track_event("troubleshoot_job", text=object())
    assert publisher.flush(LONG)
    assert publisher.stats().rejected == 100
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "not_json: 1" in record.getMessage()
    assert "secret" not in record.getMessage()


def test_what_is_lost_at_once_is_logged(api: FaultyApi, caplog: pytest.LogCaptureFixture) -> None:
    with publisher_to(api, Limits(buffer_bytes=0)) as publisher:
        publisher.track_event("troubleshoot_job")
    (record,) = caplog.records
    assert "1 lost" in record.getMessage()
    assert "buffer_full: 1" in record.getMessage()


class Reasons(dict[str, int]):
    """Reasons that count another reason while one is counted, like a finalizer might."""

    def __init__(self, backlog: Backlog) -> None:
        super().__init__(not_json=1)
        self.backlog: Backlog | None = backlog

    def items(self) -> Any:
        backlog, self.backlog = self.backlog, None
        if backlog is not None:
            backlog.count(Stats(lost=1, reasons={"closed": 1}))
        return super().items()


def test_what_is_counted_while_something_else_is_counted_is_not_forgotten() -> None:
    backlog = Backlog(IMPATIENT, 1_000)
    backlog.count(Stats(rejected=1, reasons=Reasons(backlog)))
    assert backlog.stats() == Stats(rejected=1, lost=1, reasons={"not_json": 1, "closed": 1})


class BrokenHandler(logging.Handler):
    def emit(self, _: logging.LogRecord) -> None:
        raise OSError("the disk is full")


def test_a_log_that_fails_harms_nobody(publisher: Publisher, api: FaultyApi) -> None:
    handler = BrokenHandler()
    logging.getLogger("functions.ingest.publisher").addHandler(handler)
    try:
        publisher.track_event("troubleshoot_job", job=object())
        publisher.track_event("no_such_event")
        publisher.track_event("troubleshoot_job")
        assert publisher.flush(LONG)
    finally:
        logging.getLogger("functions.ingest.publisher").removeHandler(handler)
    assert publisher.stats() == Stats(accepted=1, rejected=2, reasons={"not_json": 1, "unknown_event": 1})


def test_the_reasons_that_are_counted_do_not_fill_the_memory() -> None:
    stats = Stats()
    for number in range(1_000):
        stats = stats.plus(Stats(rejected=1, reasons={f"{number}" * 1_000: 1}))
    assert stats.rejected == sum(stats.reasons.values()) == 1_000
    assert len(stats.reasons) <= 101
    assert max(map(len, stats.reasons)) <= 100


@settings(max_examples=40)
@given(
    faults=st.lists(st.sampled_from(["", "400", "401", "413", *PASSING_FAULTS]), max_size=8),
    calls=st.lists(st.sampled_from(["good", "unknown", "ignored", "no JSON"]), max_size=40),
    batch_events=st.integers(1, 10),
    is_patient=st.booleans(),
)
def test_whatever_the_server_does_each_call_is_counted_once_and_no_id_is_two_events(
    faults: list[str], calls: list[str], batch_events: int, is_patient: bool
) -> None:
    limits = Limits(
        batch_events=batch_events,
        batch_seconds=0.001,
        first_pause_seconds=0.002,
        longest_pause_seconds=0.01,
        give_up_seconds=LONG if is_patient else 0,
        buffer_bytes=3_000,
    )
    # A server of its own: requests that were given up after their time may still be on their way to it.
    with serve() as api:
        api.fail(faults)
        with publisher_to(api, limits, timeout_seconds=0.03) as publisher:
            for made, call in enumerate(calls, 1):
                _track(publisher, call)
                stats = publisher.stats()
                assert stats.settled + stats.waiting == made
            assert publisher.flush(LONG)
    stats = publisher.stats()
    assert (stats.settled, stats.waiting) == (len(calls), 0)
    assert sum(stats.reasons.values()) == stats.rejected + stats.lost
    assert stats.accepted <= len(set(api.accepted)) <= stats.accepted + stats.lost + stats.rejected
    assert all(len(ways) == 1 for ways in list(api.written.values()))


def _track(publisher: Publisher, call: str) -> None:
    if call == "good":
        publisher.track_event("troubleshoot_job", job=JOB)
    elif call == "unknown":
        publisher.track_event("no_such_event")
    elif call == "ignored":
        publisher.track_event("of_another_tracker", additional_properties={})
    else:
        publisher.track_event("troubleshoot_job", job=object())
